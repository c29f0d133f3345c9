#!/usr/bin/env bash
# Which way of A-GEM is correct? The command of the note that asks it (seed 004) with five seeds and three margins, for
# each way, for GEM and for plain SGD, evaluated every 1,000 steps instead of 100; then docs/which_agem.md from the records.
# Runs whose record is there are skipped, so the same command continues where it stopped. 65 runs of about 15 seconds
# each; records go to results/runs/which_agem/.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements.txt

folder=results/runs/which_agem/
mkdir -p "$folder"

run() { # model, margin, seed, other flags
    local flags=(--model "$1" --n_tasks 10 --lr 0.01 --n_memories 10 --memory_strength "$2" --n_layers 2 --n_hiddens 100
        --data_path data/ --save_path "$folder" --batch_size 1 --log_every 1000 --samples_per_task 1000 --cuda no
        --seed "$3" --beta 0.03 --gamma 1.0 --memories 200 --replay_batch_size 10 --batches_per_example 10
        --forgetting_mode False --forgetting_task_ids 0,5 --forgetting_resee_size 100 --sign_attacked -1.0
        --num_groups 20 --cov_recompute_every 20 --create_random_groups False --divergence von_Neumann
        --if_output_cov False --cov_first_task_buffer 100 --data_file fashion_mnist_permutations_reduced.pt
        --ewc_reverse False --create_group_per_unit False --threads 1 "${@:4}")
    if grep -qsF -- "\"command\": \"python main.py ${flags[*]}\"" "$folder"*.json; then
        return
    fi
    echo "== $1, margin $2, seed $3 ${*:4}"
    local status=0
    "$python" main.py "${flags[@]}" 2>&1 | tail -4 | cut -c -100 || status=$?
    if ((status != 0 && status != 3)); then # 3: it diverged, which the table says
        exit "$status"
    fi
}

for seed in 0 1 2 3 4; do
    for margin in 0 0.5 10; do
        run agem "$margin" "$seed"
        run agem_meanqp "$margin" "$seed"
        run gem "$margin" "$seed"
    done
    run agem_closed 10 "$seed" # no margin from here on: --memory_strength is not used
    run agem_sampled 10 "$seed"
    run agem_sampled 10 "$seed" --agem_batch 10
    run single 10 "$seed"
done
"$python" scripts/which_agem.py "$folder" --output docs/which_agem.md
