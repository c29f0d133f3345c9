# Do SPG, NCL or OGD beat plain training where each task has a head of its own?
# Split MNIST, split Fashion-MNIST and CIFAR-100 in 20 tasks as inputs of a perceptron, five epochs: `single`, EWC, SPG with
# and without CHI and with CHI in the loss, NCL with and without a radius, OGD; on the tasks that did not serve the choice of
# their settings. The table has the difference of each to `single`, in pairs over five seeds. 115 runs of 2 to 20 seconds, those
# of NCL on CIFAR-100 minutes.
quick=(--samples_per_task 200 --n_tasks 3 --seed 0..1)
lines=$("$python" scripts/studies/split_heads.py lines)

table() {
    "$python" scripts/studies/split_heads.py table "$1"
}
