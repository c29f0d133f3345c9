"""Classifiers that are fine-tuned at the end of a run on text: what they learn, what they measure, what they leave alone."""

import argparse

import pytest
import torch

import main
from data import files, tokens
from experiment import finetuning
from experiment.finetuning import classify, macro_f1
from model import UsageError
from model.common import unmasked
from model.transformer import Encoder
from tests.conftest import MASK, N_TOKENS, text_file
from tests.experiment.stopping import words


def labelled(n, seed):
    """Sequences (n, 12) of tokens 0 and 1, and their labels: 5 where most tokens are 0, else 9."""
    x = torch.randint(2, (n, 12), generator=torch.Generator().manual_seed(seed))
    x[:, 0] = (x[:, 1:].sum(1) > 5).long()
    return x, torch.where(x.sum(1) > 6, 9, 5)


def test_macro_f1_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = torch.Generator().manual_seed(0)
    for n in (1, 7, 40):
        y, predicted = torch.randint(3, (n,), generator=draw), torch.randint(1, 6, (n,), generator=draw)
        assert macro_f1(y, predicted) == pytest.approx(metrics.f1_score(y, predicted, average="macro"), abs=1e-12)


def test_a_classifier_learns_by_the_network_that_it_is_given():
    (x, y), (x_test, y_test) = labelled(64, 0), labelled(40, 1)
    args = argparse.Namespace(finetune_epochs=8, finetune_lr=0.03, seed=0)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append(classify(Encoder(N_TOKENS, 12, 8, 1), (x, (y == 9).long()), x_test, 2, args))
    assert torch.equal(found[0], found[1])
    assert ((found[0] == 1) == (y_test == 9)).double().mean() > 0.9


@pytest.fixture
def run(tmp_path):
    """Runs on two domains; the classes of the first follow from its text, the second's test set has one never trained on."""
    both = [[["a", *labelled(48, s)], ["b", *labelled(48, s + 2)]] for s in (0, 1)]
    both[1][1][2] = torch.full((48,), 7)
    draw = torch.Generator().manual_seed(0)
    shown = tuple(tokens.choose(x, MASK, N_TOKENS, draw) for _, x, _ in both[1])
    text = tokens.Text(("a", "b", "c", "<mask>"), MASK, "", both[0][0][1], shown)
    files.save(tmp_path / "text.pt", *both, text)

    def run(**flags):
        flags = {"data_file": "text.pt", "save_path": tmp_path / "r", "pretrain_steps": 0, "n_layers": 1, **flags}
        return main.main(words(tmp_path, resume=False, **flags))

    return run


@pytest.mark.parametrize("model", [pytest.param("single", marks=pytest.mark.slow), "joint", "das"])
def test_a_run_measures_it_and_no_other_digit_changes(run, tmp_path, model):
    plain = run(model=model)
    tuned = run(model=model, finetune_epochs=6, finetune_lr=0.02, save_path=tmp_path / "tuned")
    found = tuned["finetuning"]
    assert "finetuning" not in plain
    assert {key: tuned[key] for key in ("grid", "perplexity", "counts")} == {
        key: plain[key] for key in ("grid", "perplexity", "counts")
    }
    (one,), (two,) = (list((tmp_path / folder).glob("*.pt")) for folder in ("r", "tuned"))
    states = [torch.load(path, weights_only=True)[2] for path in (one, two)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert found["accuracy"][0] > 0.85 and found["f1"][0] > 0.8 and found["accuracy"][1] == found["f1"][1] == 0
    _, y_test = labelled(48, 1)
    frequent = labelled(48, 0)[1].mode().values
    assert found["usual"] == [pytest.approx((y_test == frequent).double().mean().item()), 0.0]
    share, classes = found["usual"][0], len(y_test.unique())  # F1 of one class is 2 share / (1 + share), of others 0
    assert found["usual_f1"] == [pytest.approx(2 * share / (1 + share) / classes), 0.0]
    assert found["mean_accuracy"] == pytest.approx(found["accuracy"][0] / 2)


def test_held_out_text_has_its_own_labels(tmp_path):
    """The label of a held-out sequence goes with it."""
    text_file(tmp_path / "text.pt")
    args = main.parse(words(tmp_path, data_file="text.pt", validation=10, resume=False))[0]
    data, file = main.load_datasets(args), files.load(tmp_path / "text.pt")
    for (_, seen, targets), labels, (_, x, y) in zip(data.test, data.problem.labels, file.train, strict=True):
        held = unmasked(seen, targets)
        at = [(x == row).all(1).nonzero()[:, 0] for row in held]
        assert len(held) == 10 and all(label in y[rows] for label, rows in zip(labels, at, strict=True))
        assert len(data.train[0][2]) == 30


def test_what_does_not_fit_is_one_sentence(data_file, tmp_path):
    with pytest.raises(
        UsageError, match=r"--finetune_epochs 1: tiny.pt holds images, and this is for text; leave it out"
    ):
        main.main(words(tmp_path, model="single", finetune_epochs=1, resume=False))
    with pytest.raises(UsageError, match=r"has no net with a function hidden\(x\)"):
        finetuning.require(argparse.Namespace(net=torch.nn.Linear(1, 1)))


def test_it_is_printed(run, capsys):
    found = run(model="single", finetune_epochs=1)["finetuning"]
    assert f"Fine-tuned: {found['mean_accuracy']:.4f}, macro-F1" in capsys.readouterr().out
