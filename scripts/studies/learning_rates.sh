# Which methods are above `single`, each at its best learning rate?
# EWC, its group form, OGD, SPG, NCL and `single` at five learning rates on permuted Fashion-MNIST: 10 tasks, 1,000 examples
# each, one epoch, batch 10, 784-100-100-10, three seeds. The table gives final accuracy by learning rate, and the
# difference of the best of each to the best of `single`. 165 runs of 5 to 20 seconds each. OGD is run with the paper's 200
# directions a task and with 20.
quick=(--samples_per_task 20 --n_tasks 3 --seed 0..1 --lr 0.03 0.1)

protocol="--n_tasks 10 --samples_per_task 1000 --n_epochs 1 --batch_size 10 --n_layers 2 --n_hiddens 100"
protocol+=" --lr 0.01 0.03 0.1 0.2 0.3 --seed 0..2 --log_every 1000 --data_file fashion_mnist_permutations_reduced.pt"

# EWC first with the memory and the strength of GEM's paper for permutations.
lines="--model single $protocol
--model ewc --n_memories 10 --memory_strength 3 $protocol
--model ewc --n_memories 200 --memory_strength 3 --ewc_fisher empirical $protocol
--model ewc_group --n_memories 10 --memory_strength 3 --num_groups 20 --if_output_cov False $protocol
--model spg $protocol
--model spg --spg_chi no $protocol
--model ncl $protocol
--model ncl --ncl_diag yes $protocol
--model ogd --ogd_mode loss_mean $protocol
--model ogd --ogd_per_task 20 $protocol
--model ogd --ogd_per_task 200 $protocol"

table() {
    "$python" scripts/studies/learning_rates.py "$1"
}
