# Which rate suits SPG, NCL, OGD and EWC with a head for each task?
# Candidates learn the first two tasks of split MNIST and split Fashion-MNIST, and the first three of CIFAR-100 in 20 tasks,
# with a perceptron, on seeds that the study does not report. They are judged on training examples held out. The table has
# the best of each variant on each file, which scripts/studies/split_heads.py names for the study.
quick=(--samples_per_task 200 --n_tasks 2 --validation 50 --seed 100 --lr 0.03 0.1)
lines=$("$python" scripts/studies/split_heads.py settings)

table() {
    "$python" scripts/studies/split_heads.py choice "$1"
}
