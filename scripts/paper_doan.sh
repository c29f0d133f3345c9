#!/usr/bin/env bash
# Doan et al. 2021 (arXiv 2010.04003), the protocol of its table 4: 15 tasks of 10,000 examples of MNIST, rotated by 0, 5,
# ..., 70 degrees or permuted, ten epochs in batches of 32, plain SGD at 0.001, an MLP of two layers of 100, 100 stored
# directions or examples a task; single, EWC (strength 10), A-GEM and OGD, five seeds. What it does not record is ours: the
# Fisher of EWC from the 100 stored examples, reference batches of 100 for A-GEM. Its accuracies could not be checked against
# a source; the table shows none. --quick: 1,000 examples a task, one epoch, one seed. See scripts/papers/paper.sh for --only.
quick=(--samples_per_task 1000 --n_epochs 1 --seed 0)
source "$(dirname "${BASH_SOURCE[0]}")/papers/paper.sh"

rotations=data/mnist_rotations_steps.pt
if [[ ! -e $rotations && " $* " != *" --print "* && " $* " != *" -h "* && " $* " != *" --help "* ]]; then
    "$python" data/mnist_rotations.py --n_tasks 15 --step 5 --o "$rotations" || exit
fi

mlp="--n_layers 2 --n_hiddens 100 --batch_size 32 --n_epochs 10 --log_every 10000 --n_tasks 15 --samples_per_task 10000"
mlp+=" --lr 0.001 --cuda no --seed 0..4"
ewc="--n_memories 100 --memory_strength 10 --ewc_fisher empirical"
agem="--n_memories 100 --agem_batch 100"
ogd="--ogd_mode gtl --ogd_per_task 100 --task_sample 100 --ogd_max_basis 1500"

paper doan <<EOT
--model single $mlp --data_file mnist_rotations_steps.pt
--model ewc $mlp $ewc --data_file mnist_rotations_steps.pt
--model agem_sampled $mlp $agem --data_file mnist_rotations_steps.pt
--model ogd $mlp $ogd --data_file mnist_rotations_steps.pt
--model single $mlp --data_file mnist_permutations.pt
--model ewc $mlp $ewc --data_file mnist_permutations.pt
--model agem_sampled $mlp $agem --data_file mnist_permutations.pt
--model ogd $mlp $ogd --data_file mnist_permutations.pt
EOT
