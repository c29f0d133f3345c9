#!/usr/bin/env bash
# Figure 1 of GEM (Lopez-Paz & Ranzato 2017): MNIST permutations, MNIST rotations, CIFAR-100, with the arguments of the
# authors' run_experiments.sh, and table 2, GEM on CIFAR-100 with smaller memories; three seeds. Without a GPU a run on
# CIFAR-100 takes minutes (single, ewc) or half an hour to half a day (gem, 10 to 256 memories a task); the other streams
# take minutes in all. --quick: the first 5 tasks. See scripts/sweeping/listed.sh for --only and other words.
quick=(--n_tasks 5)
source "$(dirname "${BASH_SOURCE[0]}")/papers/paper.sh"

mlp="--n_layers 2 --n_hiddens 100 --batch_size 10 --n_epochs 1 --log_every 100 --n_tasks 20 --samples_per_task 1000"
mlp+=" --cuda no --seed 0..2"
resnet="--batch_size 10 --n_epochs 1 --log_every 100 --n_tasks 20 --samples_per_task 2500 --cuda $cuda --seed 0..2"

paper gem <<EOT
--model single $mlp --data_file mnist_permutations.pt --lr 0.03
--model single $mlp --data_file mnist_rotations.pt --lr 0.003
--model independent $mlp --data_file mnist_permutations.pt --lr 0.03 --finetune yes
--model independent $mlp --data_file mnist_rotations.pt --lr 0.1 --finetune yes
--model multimodal $mlp --data_file mnist_permutations.pt --lr 0.1
--model multimodal $mlp --data_file mnist_rotations.pt --lr 0.1
--model joint $mlp --data_file mnist_rotations.pt --lr 0.1
--model ewc $mlp --data_file mnist_permutations.pt --lr 0.1 --n_memories 10 --memory_strength 3
--model ewc $mlp --data_file mnist_rotations.pt --lr 0.01 --n_memories 1000 --memory_strength 1000
--model gem $mlp --data_file mnist_permutations.pt --lr 0.1 --n_memories 256 --memory_strength 0.5
--model gem $mlp --data_file mnist_rotations.pt --lr 0.1 --n_memories 256 --memory_strength 0.5
--model single $resnet --data_file cifar100.pt --lr 1.0
--model ewc $resnet --data_file cifar100.pt --lr 1.0 --n_memories 10 --memory_strength 1
--model icarl $resnet --data_file cifar100.pt --lr 1.0 --n_memories 1280 --memory_strength 1
--model gem $resnet --data_file cifar100.pt --lr 0.1 --n_memories 256 --memory_strength 0.5
--model gem $resnet --data_file cifar100.pt --lr 0.1 --n_memories 128 --memory_strength 0.5
--model gem $resnet --data_file cifar100.pt --lr 0.1 --n_memories 64 --memory_strength 0.5
--model gem $resnet --data_file cifar100.pt --lr 0.1 --n_memories 10 --memory_strength 0.5
EOT
