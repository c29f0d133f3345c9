# Does relatedness help where tasks are related?
# Rotations of Fashion-MNIST, ten angles in 0 to 180 degrees, and five angles in two rounds: the group methods with their
# relatedness by either divergence, reversed, with random groups, with a group per unit, and without; five seeds. The tables
# say what accuracy gains, and how well the estimates follow the angles, also with other numbers of groups and other
# intervals. They are those of docs/groups.md. 210 runs of 10 to 60 seconds each.
quick=(--samples_per_task 20 --n_tasks 5 --seed 0..1)

note="--n_tasks 10 --lr 0.01 --n_memories 10 --memory_strength 0.5 --n_layers 2 --n_hiddens 100 --batch_size 1
    --log_every 1000 --samples_per_task 1000 --cuda no --if_output_cov False --cov_first_task_buffer 100
    --probe relatedness --data_file fashion_mnist_rotations_reduced.pt fashion_mnist_rotations_twice.pt --seed 0..4"
note="--num_groups 20 --cov_recompute_every 20 --divergence von_Neumann ${note//$'\n'/ }"

# ewc_group has no flag that leaves relatedness out; without an estimate its weights are equal.
lines="--model gem_group agem_group ewc_group $note
--model gem_group agem_group ewc_group ${note/von_Neumann/LogDet}
--model gem_group agem_group $note --gem_reverse yes
--model ewc_group $note --ewc_reverse yes
--model gem_group agem_group ewc_group $note --create_random_groups yes
--model gem_group agem_group ewc_group $note --create_group_per_unit yes
--model gem_group agem_group $note --gem_ignore_relatedness yes
--model ewc_group ${note/cov_recompute_every 20/cov_recompute_every 1000000}
--model gem_group ${note/num_groups 20/num_groups 5} --gem_ignore_relatedness no yes
--model gem_group ${note/cov_recompute_every 20/cov_recompute_every 100}"

table() {
    "$python" scripts/studies/related_tasks.py "$1"
}
