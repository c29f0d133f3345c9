#!/usr/bin/env bash
# Tables 1 and 2 of MER (Riemer et al. 2019), on 20 rotations and 20 permutations of
# MNIST, one example a step, with the arguments of the authors' mer_examples.sh; five seeds. The paper's numbers could
# not be checked against a source, so the table shows none. --quick: the first 5 tasks, one seed. See scripts/sweeping/listed.sh
# for --only and other words.
quick=(--n_tasks 5 --seed 0)
source "$(dirname "${BASH_SOURCE[0]}")/papers/paper.sh"

mlp="--n_layers 2 --n_hiddens 100 --batch_size 1 --n_epochs 1 --log_every 1000 --n_tasks 20 --samples_per_task 1000"
mlp+=" --cuda no --seed 0..4"

paper mer <<EOT
--model single $mlp --data_file mnist_rotations.pt --lr 0.0003
--model single $mlp --data_file mnist_permutations.pt --lr 0.003
--model ewc $mlp --data_file mnist_rotations.pt --lr 0.001 --n_memories 10 --memory_strength 100
--model ewc $mlp --data_file mnist_permutations.pt --lr 0.01 --n_memories 10 --memory_strength 10
--model gem $mlp --data_file mnist_rotations.pt --lr 0.01 --n_memories 256 --memory_strength 1.0
--model gem $mlp --data_file mnist_rotations.pt --lr 0.01 --n_memories 25 --memory_strength 0.0
--model gem $mlp --data_file mnist_rotations.pt --lr 0.01 --n_memories 10 --memory_strength 0.0
--model gem $mlp --data_file mnist_permutations.pt --lr 0.01 --n_memories 256 --memory_strength 1.0
--model gem $mlp --data_file mnist_permutations.pt --lr 0.01 --n_memories 25 --memory_strength 1.0
--model gem $mlp --data_file mnist_permutations.pt --lr 0.01 --n_memories 10 --memory_strength 0.0
--model independent $mlp --data_file mnist_rotations.pt --lr 0.01 --finetune yes
--model eralg4 $mlp --data_file mnist_rotations.pt --lr 0.1 --memories 5120 --replay_batch_size 25
--model eralg4 $mlp --data_file mnist_rotations.pt --lr 0.1 --memories 500 --replay_batch_size 5
--model eralg4 $mlp --data_file mnist_rotations.pt --lr 0.1 --memories 200 --replay_batch_size 10
--model eralg5 $mlp --data_file mnist_rotations.pt --lr 0.03 --memories 5120 --replay_batch_size 100
--model eralg5 $mlp --data_file mnist_rotations.pt --lr 0.01 --memories 500 --replay_batch_size 100
--model eralg5 $mlp --data_file mnist_rotations.pt --lr 0.01 --memories 200 --replay_batch_size 50
--model meralg1 $mlp --data_file mnist_rotations.pt --lr 0.03 --beta 0.03 --gamma 1 --memories 5120 --replay_batch_size 100 --batches_per_example 10
--model meralg1 $mlp --data_file mnist_rotations.pt --lr 0.1 --beta 0.01 --gamma 1 --memories 500 --replay_batch_size 10 --batches_per_example 10
--model meralg1 $mlp --data_file mnist_rotations.pt --lr 0.1 --beta 0.01 --gamma 1 --memories 200 --replay_batch_size 10 --batches_per_example 5
--model meralg6 $mlp --data_file mnist_rotations.pt --lr 0.03 --gamma 0.1 --memories 5120 --replay_batch_size 100
--model meralg6 $mlp --data_file mnist_rotations.pt --lr 0.1 --gamma 0.03 --memories 500 --replay_batch_size 10
--model meralg6 $mlp --data_file mnist_rotations.pt --lr 0.1 --gamma 0.03 --memories 200 --replay_batch_size 25
--model meralg7 $mlp --data_file mnist_rotations.pt --lr 0.03 --gamma 0.03 --memories 5120 --replay_batch_size 100 --s 5
--model meralg7 $mlp --data_file mnist_rotations.pt --lr 0.03 --gamma 0.03 --memories 500 --replay_batch_size 50 --s 5
--model meralg7 $mlp --data_file mnist_rotations.pt --lr 0.03 --gamma 0.03 --memories 200 --replay_batch_size 50 --s 5
--model independent $mlp --data_file mnist_permutations.pt --lr 0.01 --finetune yes
--model eralg4 $mlp --data_file mnist_permutations.pt --lr 0.1 --memories 5120 --replay_batch_size 25
--model eralg4 $mlp --data_file mnist_permutations.pt --lr 0.1 --memories 500 --replay_batch_size 10
--model eralg4 $mlp --data_file mnist_permutations.pt --lr 0.1 --memories 200 --replay_batch_size 10
--model eralg5 $mlp --data_file mnist_permutations.pt --lr 0.01 --memories 5120 --replay_batch_size 25
--model eralg5 $mlp --data_file mnist_permutations.pt --lr 0.01 --memories 500 --replay_batch_size 25
--model eralg5 $mlp --data_file mnist_permutations.pt --lr 0.01 --memories 200 --replay_batch_size 10
--model meralg1 $mlp --data_file mnist_permutations.pt --lr 0.03 --beta 0.03 --gamma 1 --memories 5120 --replay_batch_size 100 --batches_per_example 10
--model meralg1 $mlp --data_file mnist_permutations.pt --lr 0.03 --beta 0.03 --gamma 1 --memories 500 --replay_batch_size 25 --batches_per_example 10
--model meralg1 $mlp --data_file mnist_permutations.pt --lr 0.03 --beta 0.03 --gamma 1 --memories 200 --replay_batch_size 10 --batches_per_example 10
--model meralg6 $mlp --data_file mnist_permutations.pt --lr 0.03 --gamma 0.1 --memories 5120 --replay_batch_size 50
--model meralg6 $mlp --data_file mnist_permutations.pt --lr 0.03 --gamma 0.3 --memories 500 --replay_batch_size 10
--model meralg6 $mlp --data_file mnist_permutations.pt --lr 0.1 --gamma 0.03 --memories 200 --replay_batch_size 5
--model meralg7 $mlp --data_file mnist_permutations.pt --lr 0.01 --gamma 0.1 --memories 5120 --replay_batch_size 100 --s 10
--model meralg7 $mlp --data_file mnist_permutations.pt --lr 0.01 --gamma 0.1 --memories 500 --replay_batch_size 25 --s 10
--model meralg7 $mlp --data_file mnist_permutations.pt --lr 0.03 --gamma 0.1 --memories 200 --replay_batch_size 5 --s 2
EOT
