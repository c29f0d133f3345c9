#!/usr/bin/env bash
# Table 4 of A-GEM (Chaudhry et al. 2019), permuted MNIST: the 17 tasks that remain when the first three have served to
# choose hyper-parameters, all 55,000 examples of each, five seeds; besides, with 1,000 examples a task. The arguments
# are those of replicate_results_iclr19.sh. GEM on all examples takes an hour or so a run, the others minutes.
# --quick: 1,000 examples a task throughout. See scripts/sweeping/listed.sh for --only and other words.
quick=(--samples_per_task 1000 --log_every 100)
source "$(dirname "${BASH_SOURCE[0]}")/papers/paper.sh"

mlp="--data_file mnist_permutations.pt --first_task 3 --n_tasks 17 --n_layers 2 --n_hiddens 256 --batch_size 10"
mlp+=" --n_epochs 1 --cuda no --seed 0..4"

paper agem <<EOT
--model agem_sampled $mlp --lr 0.1 --n_memories 250 --agem_batch 256 --samples_per_task 1000 --log_every 100
--model single $mlp --lr 0.03 --samples_per_task 55000 --log_every 5500
--model agem_sampled $mlp --lr 0.1 --n_memories 250 --agem_batch 256 --samples_per_task 55000 --log_every 5500
--model gem $mlp --lr 0.1 --n_memories 250 --memory_strength 0 --samples_per_task 55000 --log_every 5500
EOT
