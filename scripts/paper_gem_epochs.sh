#!/usr/bin/env bash
# Table 3 of GEM (Lopez-Paz & Ranzato 2017): MNIST rotations, one, two and five epochs a task, with the arguments of the
# authors' run_experiments.sh, evaluated where the task changes; five seeds. "single, shuffled data" of the paper is joint
# here. --quick: the first 5 tasks, two seeds. See scripts/sweeping/listed.sh for --only and other words.
quick=(--n_tasks 5 --seed 0..1)
source "$(dirname "${BASH_SOURCE[0]}")/papers/paper.sh"

mlp="--n_layers 2 --n_hiddens 100 --batch_size 10 --n_epochs 1 2 5 --log_every 100000 --n_tasks 20 --samples_per_task 1000"
mlp+=" --cuda no --seed 0..4 --data_file mnist_rotations.pt"

paper gem_epochs <<EOT
--model joint $mlp --lr 0.1
--model single $mlp --lr 0.003
--model independent $mlp --lr 0.1 --finetune yes
--model multimodal $mlp --lr 0.1
--model ewc $mlp --lr 0.01 --n_memories 1000 --memory_strength 1000
--model gem $mlp --lr 0.1 --n_memories 256 --memory_strength 0.5
EOT
