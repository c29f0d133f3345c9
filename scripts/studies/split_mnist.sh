# What does forgetting in split MNIST look like, and what helps?
# Every row of the split-MNIST note and a few beside it, five seeds each: joint and sequential training, plain, with batch
# or layer normalisation, dropout, and L1 on the activations, LeNet-5, and orthogonal gradient descent. The table gives the
# note's number, ours, and the difference. 115 runs of 5 to 40 seconds each.
quick=(--samples_per_task 1000 --seed 0..1)
lines=$("$python" scripts/studies/split_mnist.py lines)

table() {
    "$python" scripts/studies/split_mnist.py table "$1"
}
