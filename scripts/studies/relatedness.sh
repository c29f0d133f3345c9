# What are relatedness and groups worth?
# The A-GEM note's command (evaluated every 1,000 steps) at margin 0.5, five seeds, for GEM and A-GEM, and for their group
# forms with relatedness, without it (--gem_ignore_relatedness), with random groups and with every unit its own group. The
# tables are those of docs/groups.md. 50 runs of 15 to 40 seconds each.
quick=(--samples_per_task 20 --n_tasks 3 --seed 0..1)

note="--n_tasks 10 --lr 0.01 --n_memories 10 --memory_strength 0.5 --n_layers 2 --n_hiddens 100 --batch_size 1
    --log_every 1000 --samples_per_task 1000 --cuda no --num_groups 20 --cov_recompute_every 20
    --divergence von_Neumann --if_output_cov False --cov_first_task_buffer 100
    --data_file fashion_mnist_permutations_reduced.pt --seed 0..4"
note=${note//$'\n'/ }

lines="--model gem agem_closed $note
--model gem_group agem_group $note
--model gem_group agem_group --gem_ignore_relatedness yes $note
--model gem_group agem_group --create_random_groups yes $note
--model gem_group agem_group --create_group_per_unit yes $note"

by=model,gem_ignore_relatedness,create_random_groups,create_group_per_unit
with=gem_ignore_relatedness=False,create_random_groups=False,create_group_per_unit=False
labels=(--label gem '`gem`')
labels+=(--label "model=gem_group,$with" '`gem_group`, relatedness')
labels+=(--label model=gem_group,gem_ignore_relatedness=True '`gem_group`, the margin alone')
labels+=(--label model=gem_group,create_random_groups=True '`gem_group`, relatedness, random groups')
labels+=(--label model=gem_group,create_group_per_unit=True '`gem_group`, relatedness, per-unit groups')
labels+=(--label agem_closed '`agem_closed`')
labels+=(--label "model=agem_group,$with" '`agem_group`, relatedness')
labels+=(--label model=agem_group,gem_ignore_relatedness=True '`agem_group`, plain mean')
labels+=(--label model=agem_group,create_random_groups=True '`agem_group`, relatedness, random groups')
labels+=(--label model=agem_group,create_group_per_unit=True '`agem_group`, relatedness, per-unit groups')

# Then relatedness against none, communities against random groups, groups against no groups.
table() {
    compare "$1" --by "$by" "${labels[@]}" --metric final,backward --protocol
    local baseline
    for baseline in gem_ignore_relatedness=True create_random_groups=True gem agem_closed; do
        echo
        compare "$1" --by "$by" "${labels[@]}" --metric final --baseline "$baseline" | sed -n '/^Mean difference/,$p'
    done
}
