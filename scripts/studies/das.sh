# What does soft-masking protect in a language model?
# Five domains of text from this Python installation, learned one after the other by a Transformer of 88 thousand parameters
# that begins from general pre-training: `single`, `ewc`, `joint`, and DAS with each proxy for general importance on general
# and on new text, and without each of its parts. Five seeds with an order of domains of their own, the same for all; the
# learning rate is to be the one that suits `single` on held-out training text: the first lines and the first table are
# about that, and --lr changes it. Steps are Adam's. The second compares with `single`. 70 runs,
# whose time has not been measured.
quick=(--samples_per_task 320 --seed 0..1 --pretrain_steps 600 --lr 0.003)

size="--data_file text_domains.pt --n_layers 2 --n_hiddens 64 --batch_size 16 --log_every 100000 --shuffle_tasks yes --optimizer adam"
protocol="$size --lr 0.003 --seed 0..4"
das="--model das $protocol"

lines="--model single $size --lr 0.0003 0.001 0.003 0.01 0.03 --validation 400 --seed 0..2
--model single joint $protocol
--model ewc --n_memories 200 --memory_strength 1000 $protocol
$das --das_proxy output representation --das_proxy_data general new
$das --das_contrast 0
$das --das_initial no
$das --das_masks no
$das --das_contrast 0 --das_initial no"

table() {
    "$python" scripts/studies/das.py "$1" --figures "$1"
}
