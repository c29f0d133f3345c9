# Does a method's alignment with a past task predict how much that task falls?
# Ten permutations of scikit-learn's digits, the GEM family and `single` with a memory that only watches, five seeds. The
# table has the rank correlation of the mean cosine with each past task's gradient and of the fall of that task, for
# gradients before the correction and for steps. The table is that of docs/probes.md. 30 runs of about 5 seconds each.
quick=(--samples_per_task 20 --n_tasks 5 --seed 0..1)

protocol="--data_file digits_permutations.pt --n_tasks 10 --lr 0.05 --batch_size 10 --log_every 5 --probe alignment --seed 0..4"

lines="--model single $protocol --probe_memories 20
--model agem_closed agem_sampled $protocol --n_memories 20
--model gem agem agem_meanqp $protocol --n_memories 20 --memory_strength 0.5"

table() {
    "$python" scripts/studies/alignment.py "$1"
}
