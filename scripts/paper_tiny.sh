#!/usr/bin/env bash
# Two rotations of MNIST by 10 and by 90 degrees, 1,000 examples each, as in the study of tiny episodic memories (arXiv
# 1902.10486): accuracy on the first task after the second, five seeds. Its rate, network and memory are not recorded: these
# are A-GEM's network and rate, and 10 examples. --quick: 100 examples. See scripts/sweeping/listed.sh for other words.
quick=(--samples_per_task 100)
source "$(dirname "${BASH_SOURCE[0]}")/papers/paper.sh"

for degrees in 10 90; do
    if [[ ! -e data/mnist_rotations_by_$degrees.pt && " $* " != *" --print "* && " $* " != *" -h "* && " $* " != *" --help "* ]]
    then
        "$python" data/mnist_rotations.py --n_tasks 2 --step "$degrees" --o "data/mnist_rotations_by_$degrees.pt" || exit
    fi
done

mlp="--n_layers 2 --n_hiddens 256 --batch_size 10 --n_epochs 1 --lr 0.1 --n_tasks 2 --samples_per_task 1000 --seed 0..4"
mlp+=" --data_file mnist_rotations_by_10.pt mnist_rotations_by_90.pt"

paper tiny <<EOT
--model single $mlp
--model eralg4 $mlp --memories 10 --replay_batch_size 10
--model agem_sampled $mlp --n_memories 10 --agem_batch 256
EOT
