# What does unlearning do?
# Each method that can unlearn learns ten permutations of Fashion-MNIST (1,000 examples each, batch 1), then unlearns tasks
# 0 and 5 in 100 batches of every other task; three seeds. The table gives the mean accuracies on the two tasks and on the
# others, before and after, and how much more the two have lost. 18 runs of about 15 seconds each.
quick=(--samples_per_task 20 --n_tasks 3 --seed 0..1 --forgetting_task_ids 0)

protocol="--n_tasks 10 --batch_size 1 --log_every 1000 --samples_per_task 1000 --seed 0..2"
protocol+=" --data_file fashion_mnist_permutations_reduced.pt"
protocol+=" --forgetting_mode True --forgetting_task_ids 0,5 --forgetting_resee_size 100"

lines="--model gem agem_meanqp --lr 0.01 --n_memories 10 --memory_strength 0.5 $protocol
--model agem_closed --lr 0.01 --n_memories 10 $protocol
--model ewc --lr 0.01 --n_memories 10 --memory_strength 3 $protocol
--model spg --lr 0.03 $protocol
--model ogd --lr 0.01 --ogd_per_task 20 $protocol"

table() {
    compare "$1" --metric attacked_before,attacked_after,kept_before,kept_after,selectivity --protocol
}
