#!/usr/bin/env bash
# OGD (Farajtabar et al. 2020) beside plain SGD on permutations and rotations of MNIST: network, batch, learning rate and
# the 200 stored gradients a task are the paper's; how many tasks, examples and epochs it took is not recorded: 5 tasks,
# 10,000 examples and 5 epochs here, five seeds. Its numbers could not be checked against a source; the table shows none.
# --quick: 1,000 examples a task, one seed. See scripts/sweeping/listed.sh for --only and other words.
quick=(--samples_per_task 1000 --seed 0)
source "$(dirname "${BASH_SOURCE[0]}")/papers/paper.sh"

mlp="--n_layers 2 --n_hiddens 100 --batch_size 10 --n_epochs 5 --log_every 1000 --n_tasks 5 --samples_per_task 10000"
mlp+=" --lr 0.001 --cuda no --seed 0..4"
ogd="--ogd_mode gtl --ogd_per_task 200 --task_sample 200 --ogd_max_basis 2000"

paper ogd <<EOT
--model single $mlp --data_file mnist_permutations.pt
--model single $mlp --data_file mnist_rotations.pt
--model ogd $mlp $ogd --data_file mnist_permutations.pt
--model ogd $mlp $ogd --data_file mnist_rotations.pt
EOT
