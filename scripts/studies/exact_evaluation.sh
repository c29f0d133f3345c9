# Does an evaluation say what float64 says?
# 100 networks learn ten permutations of Fashion-MNIST: five methods, four learning rates, five seeds, 200 examples a task.
# Each then predicts all 100,000 test images, by the evaluation of main.py and in float64. The table counts the predictions
# that differ, those of plain float32 products too, and the examples that were computed again. 100 runs of some seconds.
quick=(--samples_per_task 20 --n_tasks 3 --seed 0 --lr 0.03 0.1)

protocol="--n_tasks 10 --samples_per_task 200 --n_epochs 2 --batch_size 10 --n_layers 2 --n_hiddens 100"
protocol+=" --lr 0.01 0.03 0.1 0.2 --seed 0..4 --log_every 1000 --data_file fashion_mnist_permutations_reduced.pt"

lines="--model single $protocol
--model agem_closed --n_memories 10 $protocol
--model gem --n_memories 10 --memory_strength 0.5 $protocol
--model ewc --n_memories 10 --memory_strength 3 $protocol
--model ncl $protocol"

table() {
    "$python" scripts/studies/exact_evaluation.py "$1"
}
