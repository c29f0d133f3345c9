"""Masked language models of `transformers` as the network, on a tiny one with random weights that is written to disk."""

import pytest
import torch

import main
from data import DataError, text_domains
from model import UsageError, units
from model.backbone import load
from tests.conftest import N_TOKENS, ids, text_file
from tests.experiment.stopping import words


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """The folder of a RoBERTa of one layer, width 8, four heads."""
    transformers = pytest.importorskip("transformers", reason="the optional library transformers is not installed")
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=N_TOKENS, hidden_size=8, num_hidden_layers=1, num_attention_heads=4, intermediate_size=16,
        max_position_embeddings=20, pad_token_id=3, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("roberta")
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def run(tmp_path):
    text_file(tmp_path / "text.pt")

    def run(**flags):
        return main.main(words(tmp_path, data_file="text.pt", save_path=tmp_path / "r", resume=False, **flags))

    return run


def test_gates_of_one_change_nothing_and_gates_of_zero_do(roberta):
    net = load(str(roberta), N_TOKENS, 12).eval()
    found, x = units.Units(net), ids(3)
    assert found.sizes == {"head": 4, "intermediate": 16, "output": 8}
    like, plain = torch.zeros(1), net(x)
    assert plain.shape == (3, N_TOKENS, 12) and net.hidden(x).shape == (3, 12, 8)
    with found.gated(found.filled(1.0, like, 3)):
        assert torch.allclose(net(x), plain, atol=1e-6)
    for kind in units.TYPES:
        gates = found.filled(1.0, like)
        gates[kind].zero_()
        with found.gated(gates):
            assert not torch.allclose(net(x), plain, atol=1e-4), kind
    assert torch.equal(net(x), plain)


def test_a_gate_closes_one_head(roberta):
    """The output projection sees zeros in that head's columns, and no others."""
    net, seen = load(str(roberta), N_TOKENS, 12).eval(), []
    found = units.Units(net)
    gates = found.filled(1.0, torch.zeros(1))
    gates["head"][0, 2] = 0
    with found.gated(gates):
        found.layers[0].context.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        net(ids(2))
    closed = (seen[0] == 0).flatten(0, 1).all(0)
    assert closed.nonzero().flatten().tolist() == [4, 5]


@pytest.mark.parametrize("model", ["single", "das"])
def test_a_run(roberta, run, model):
    flags = {"optimizer": "adam", "lr": 0.01} if model == "das" else {"lr": 0.1}
    result = run(model=model, backbone=roberta, n_hiddens=100, finetune_epochs=1, **flags)
    assert (
        result["status"] == "done" and result["protocol"]["net"] == "Backbone" and result["metrics"]["perplexity"] > 1
    )
    again = run(model=model, backbone=roberta, n_hiddens=100, **flags)
    assert again["perplexity"] == result["perplexity"] and len(result["finetuning"]["f1"]) == 2


def test_a_unit_of_importance_one_does_not_move(roberta):
    from tests.conftest import TEXT, masked_text, net

    model = net("das", **{**TEXT, "backbone": str(roberta), "optimizer": "adam", "lr": 0.01})
    model.importance = model.units.filled(0.0, model.engine.theta)
    model.importance["head"][0, 1] = 1
    layer = model.units.layers[0]
    own = [layer.query.weight[2:4], layer.value.bias[2:4], layer.context.weight[:, 2:4]]
    before = [part.detach().clone() for part in own]
    _, x, y = masked_text(1)[0]
    model.observe(x, 0, y)
    assert all(map(torch.equal, own, before)) and bool(layer.query.weight[:2].ne(0).any())


def test_a_run_goes_on_where_it_was_stopped(roberta, tmp_path, monkeypatch):
    from scripts.kill_test import measured
    from tests.experiment.stopping import Stops

    text_file(tmp_path / "text.pt")
    flags = {"model": "das", "data_file": "text.pt", "backbone": roberta, "optimizer": "adam", "lr": 0.01}
    main.main(words(tmp_path, save_path=tmp_path / "whole", **flags))
    Stops(monkeypatch).run(words(tmp_path, save_path=tmp_path / "parts", **flags), [3, 9])
    assert measured(tmp_path / "parts") == measured(tmp_path / "whole")


@pytest.mark.parametrize(
    ("tokens", "length", "sentence"),
    [
        (5, 12, "knows 4 tokens, and the data have 5; build the data"),
        (4, 30, "cannot take the data's sequences, of 30 tokens"),
    ],
)
def test_what_does_not_fit_is_one_sentence(roberta, tokens, length, sentence):
    with pytest.raises(UsageError, match=sentence):
        load(str(roberta), tokens, length)


def test_what_is_no_model_is_one_sentence(tmp_path):
    pytest.importorskip("transformers", reason="the optional library transformers is not installed")
    with pytest.raises(UsageError, match=r"cannot be loaded .*; give the name or folder of a masked language model"):
        load(str(tmp_path), 4, 12)
    with pytest.raises(DataError, match=r"--tokenizer .*: cannot be loaded"):
        text_domains.theirs(str(tmp_path))


def test_without_the_library_it_is_one_sentence(run, hide, data_file, tmp_path):
    hide("transformers")
    with pytest.raises(
        UsageError, match="--backbone nowhere: needs the library transformers; pip install transformers"
    ):
        run(model="single", backbone="nowhere")
    with pytest.raises(DataError, match="--tokenizer: needs the library transformers"):
        text_domains.theirs("nowhere")
    with pytest.raises(
        UsageError, match=r"--backbone nowhere: tiny.pt holds images, and this is for text; leave it out"
    ):
        main.main(words(tmp_path, model="single", backbone="nowhere", resume=False))
