#!/usr/bin/env bash
# What relatedness and groups are worth: seed 004's command (evaluated every 1,000 steps) at margin 0.5, five seeds, for
# GEM and A-GEM, and for their group forms with relatedness, without it (--gem_ignore_relatedness), with random groups and
# with every unit its own group; then the table of docs/groups.md. Runs whose record is there are skipped, so the same
# command continues where it stopped. 50 runs of 15 to 40 seconds each, JOBS of them at a time (default 1); records go to
# results/runs/relatedness/.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements.txt
export python
export folder=${RECORDS:-results/runs/relatedness}/ data=${DATA_PATH:-data/}
mkdir -p "$folder"

run() { # name of the variant, seed, model and other flags
    local flags=(--n_tasks 10 --lr 0.01 --n_memories 10 --memory_strength 0.5 --n_layers 2 --n_hiddens 100
        --data_path "$data" --save_path "$folder$1/" --batch_size 1 --log_every 1000 --samples_per_task 1000 --cuda no
        --seed "$2" --num_groups 20 --cov_recompute_every 20 --divergence von_Neumann --if_output_cov False
        --cov_first_task_buffer 100 --data_file fashion_mnist_permutations_reduced.pt --threads 1 --model "${@:3}")
    mkdir -p "$folder$1"
    if grep -qsF -- "\"command\": \"python main.py ${flags[*]}\"" "$folder$1/"*.json; then
        return
    fi
    echo "== $1, seed $2"
    local status=0
    "$python" main.py "${flags[@]}" 2>&1 | tail -4 | cut -c -100 || status=$?
    if ((status != 0 && status != 3)); then # 3: it diverged, which the table says
        return 255
    fi
}
export -f run

for seed in 0 1 2 3 4; do
    for method in gem agem; do
        groups=${method}_group
        plain=$([[ $method == gem ]] && echo gem || echo agem_closed)
        printf '%s\n' \
            "$plain $seed $plain" \
            "$groups-relatedness $seed $groups" \
            "$groups-without $seed $groups --gem_ignore_relatedness yes" \
            "$groups-random $seed $groups --create_random_groups yes" \
            "$groups-unit $seed $groups --create_group_per_unit yes"
    done
done | xargs -P "${JOBS:-1}" -I {} bash -o pipefail -c 'run {}'
"$python" scripts/relatedness_table.py "$folder"
