# Which way of A-GEM is correct?
# The command of the A-GEM note with five seeds and three margins, for each way, for GEM and for plain SGD, evaluated every
# 1,000 steps instead of 100, and the other reading of the ways (2) and (3); then docs/which_agem.md from the records, once
# all of these runs are there, else which_agem.md beside them. 80 runs of about 15 seconds each.
quick=(--samples_per_task 20 --n_tasks 3 --seed 0..1)

note="--n_tasks 10 --lr 0.01 --n_memories 10 --n_layers 2 --n_hiddens 100 --batch_size 1 --log_every 1000
    --samples_per_task 1000 --cuda no --beta 0.03 --gamma 1.0 --memories 200 --replay_batch_size 10
    --batches_per_example 10 --forgetting_mode False --forgetting_task_ids 0,5 --forgetting_resee_size 100
    --sign_attacked -1.0 --num_groups 20 --cov_recompute_every 20 --create_random_groups False
    --divergence von_Neumann --if_output_cov False --cov_first_task_buffer 100
    --data_file fashion_mnist_permutations_reduced.pt --ewc_reverse False --create_group_per_unit False --seed 0..4"
note=${note//$'\n'/ }

# The ways with a margin; those without, for which --memory_strength means nothing; the other reading; small batches.
lines="--model agem agem_meanqp gem --memory_strength 0 0.5 10 $note
--model agem_closed agem_sampled single --memory_strength 10 $note
--model agem_closed --agem_trigger any --memory_strength 10 $note
--model agem_meanqp --agem_trigger any --memory_strength 0 10 $note
--model agem_sampled --agem_batch 10 --memory_strength 10 $note"

table() {
    local document=$1/which_agem.md states
    states=$("$python" scripts/sweep.py - --out "$1" --print <<<"$lines")
    if [[ $states != *" to do"* ]]; then
        document=docs/which_agem.md
    fi
    "$python" scripts/studies/which_agem.py "$1" --output "$document"
}
