#!/usr/bin/env bash
# The three ways of A-GEM side by side: the command of the A-GEM note, all of its flags as
# written there, once for each of our names of the three. On permuted Fashion-MNIST where its raw files can be had, else
# on the digits that come with scikit-learn. Records go to results/.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements.txt

data=fashion_mnist_permutations_reduced.pt
if [[ ! -e data/$data ]] && ! "$python" data/raw/raw.py fashion_mnist; then
    data=digits_permutations.pt
fi
echo "data: $data"

flags=(--n_tasks 10 --lr 0.01 --n_memories 10 --memory_strength 10 --n_layers 2 --n_hiddens 100 --data_path data/
    --save_path results/ --batch_size 1 --log_every 100 --samples_per_task 1000 --cuda no --seed 3 --beta 0.03
    --gamma 1.0 --memories 200 --replay_batch_size 10 --batches_per_example 10 --forgetting_mode False
    --forgetting_task_ids 0,5 --forgetting_resee_size 100 --sign_attacked -1.0 --num_groups 20 --cov_recompute_every 20
    --create_random_groups False --divergence von_Neumann --if_output_cov False --cov_first_task_buffer 100
    --data_file "$data" --ewc_reverse False --create_group_per_unit False)

began=$(date +%Y-%m-%dT%H:%M:%S)
for model in Agem agem_closed agem_meanqp; do
    printf '\n== python main.py --model %s %s\n' "$model" "${flags[*]}"
    status=0
    "$python" main.py --model "$model" "${flags[@]}" || status=$?
    if ((status != 0 && status != 3)); then # 3: it diverged, which the table says
        exit "$status"
    fi
done
echo
"$python" scripts/side_by_side.py --since "$began" --data_file "$data" results/
