# What can an A-GEM by groups make of relatedness?
# The A-GEM note's command (evaluated every 1,000 steps) at its own margin of 10 and at 0.5, five seeds, for the ways of
# `agem_group`: a correction a block or one for all, the closed form or the QP, the note's mean of rows and of bounds; and for
# both variants of `gem_group`. The table is in docs/groups.md. 85 runs of 10 to 60 seconds each.
quick=(--samples_per_task 20 --n_tasks 3 --seed 0..1)

note="--n_tasks 10 --lr 0.01 --n_memories 10 --n_layers 2 --n_hiddens 100 --batch_size 1 --log_every 1000
    --samples_per_task 1000 --cuda no --num_groups 20 --cov_recompute_every 20 --divergence von_Neumann
    --if_output_cov False --cov_first_task_buffer 100 --data_file fashion_mnist_permutations_reduced.pt --seed 0..4"
note=${note//$'\n'/ }

lines="--model agem_closed $note
--model agem_meanqp --memory_strength 0.5 10 $note
--model agem_group --agem_group_rule closed --agem_group_scope block global $note
--model agem_group --agem_group_rule qp --agem_group_scope block global --memory_strength 0.5 10 $note
--model agem_group --agem_group_rule mean_h --memory_strength 0.5 10 $note
--model gem --memory_strength 0.5 10 $note
--model gem_group --gem_variant rows weighted --memory_strength 0.5 10 $note"

by=model,agem_group_rule,agem_group_scope,gem_variant,memory_strength

# Then the difference of each to the method without groups.
table() {
    compare "$1" --by "$by" --metric final,backward,forward --protocol
    local baseline
    for baseline in agem_closed model=gem,memory_strength=0.5; do
        echo
        compare "$1" --by "$by" --metric final --baseline "$baseline" | sed -n '/^Mean difference/,$p'
    done
}
