# What does forgetting in split MNIST look like, and what helps?
# Every row of the split-MNIST note and a few beside it, five seeds each: joint and sequential training, plain, with batch
# or layer normalisation, dropout, and L1 on the activations, LeNet-5, and orthogonal gradient descent. The table gives the
# note's number, ours, and the difference; others have what decides each of its findings, and figures are drawn.
quick=(--samples_per_task 1000 --seed 0..1)
lines=$("$python" scripts/studies/split_mnist.py lines)

table() {
    "$python" scripts/studies/split_mnist.py table "$1"
    echo
    "$python" scripts/studies/split_mnist_findings.py "$1" --figures "$1/figures"
}
