# Do the engines agree?
# Every method (but `icarl`, which needs tasks with own classes, and `das`, which learns text) by the fast and by the autograd engine on permuted Fashion-MNIST: the A-GEM note's command with a margin of
# 0.5, one evaluation a task and five seeds. Their digits differ, since sums are taken in another order, so the final
# accuracies are compared: the table gives the mean difference over the seeds, with its 95 % interval. Two runs of about
# 15 seconds a seed for most methods; `ogd` takes minutes. `--model gem ewc` chooses methods.
quick=(--samples_per_task 20 --n_tasks 3 --seed 0..1)

lines="--model $("$python" -c 'import model; print(*(m for m in model.learning("images") if m != "icarl"))') --engine fast autograd --seed 0..4 --n_tasks 10"
lines+=" --lr 0.01 --n_memories 10 --memory_strength 0.5 --batch_size 1 --log_every 1000 --samples_per_task 1000"
lines+=" --data_file fashion_mnist_permutations_reduced.pt"

table() {
    compare "$1" --by model,engine --metric final --baseline engine=autograd --protocol
}
