# What does soft-masking protect in a language model?
# Five domains of text from this Python installation, 640 sequences each, learned one after the other by a Transformer of 88
# thousand parameters that begins from general pre-training: `single`, `ewc`, `joint`, and DAS with each proxy for general
# importance on general and on new text, and without each of its parts. Five seeds with an order of domains of their own, the
# same for all. Steps are Adam's. The first lines are measured on held-out training text: the rate is the one at which `single`
# has the best final mean accuracy; at that rate, the strength is the one at which `ewc` has it, and the weight of the contrast
# the one at which `das` has it. All others have the rate of `single`. The second table compares with `single`. The last
# lines fine-tune classifiers at the end, of text whose test sets have more files, and have a table of their own.
quick=(--samples_per_task 160 --seed 0 --n_tasks 3 --pretrain_steps 600)

size="--data_file text_domains.pt --samples_per_task 640 --n_layers 2 --n_hiddens 64 --batch_size 16 --log_every 100000"
size="$size --shuffle_tasks yes --optimizer adam"
held_out="$size --validation 400 --seed 0..1"
protocol="$size --lr 0.0003 --seed 0..4"
ewc="--model ewc --n_memories 200"
das="--model das $protocol --das_contrast 0.01"

lines="--model single $held_out --lr 0.0001 0.0003 0.001 0.003
$ewc --memory_strength 1000 10000 100000 $held_out --lr 0.0003
--model das $held_out --lr 0.0003 --das_contrast 0.01 0.1 1
--model das $held_out --lr 0.001 0.003 --das_contrast 0.01
--model single joint $protocol
$ewc --memory_strength 10000 $protocol
$das --das_proxy output representation --das_proxy_data general new
$das --das_contrast 0 1
$das --das_initial no
$das --das_masks no
$das --das_contrast 0 --das_initial no
--model single ${protocol/text_domains/text_families} --finetune_epochs 10
${das/text_domains/text_families} --finetune_epochs 10"

table() {
    "$python" scripts/studies/das.py "$1" --importance "das --das_contrast 0.01" --figures "$1"
}
