"""Masked language models through main.py: the methods that learn text, their records, general pre-training, refusals."""

import math
import random
import re

import pytest
import torch
from torch.nn import functional as F

import main
from data import files, tokens
from experiment import pretraining
from model import UsageError
from model.transformer import Encoder
from tests.conftest import MASK, N_TOKENS, file_for, text_file
from tests.experiment.stopping import words


@pytest.fixture
def run(tmp_path):
    text_file(tmp_path / "text.pt", 3)

    def run(**flags):
        flags = {"model": "single", "data_file": "text.pt", "save_path": tmp_path / "r", **flags}
        return main.main(words(tmp_path, **{"resume": False, "pretrain_steps": 5, "lr": 0.5, **flags}))

    return run


@pytest.mark.parametrize("model", ["single", pytest.param("joint", marks=pytest.mark.slow), "ewc"])
def test_methods_for_images_learn_text_unchanged(run, tmp_path, model):
    """The last row against the parameters in the record: accuracy of the masked tokens, and perplexity, by hand."""
    result = run(model=model, n_layers=1)
    (path,) = (tmp_path / "r").glob("*.pt")
    net = Encoder(N_TOKENS, 12, 8, 1).eval()
    net.load_state_dict(
        {name.removeprefix("net."): value for name, value in torch.load(path, weights_only=True)[2].items()}
    )
    file, accuracies, perplexities = files.load(tmp_path / "text.pt"), [], []
    for (_, x, _), shown in zip(file.test, file.text.shown, strict=True):
        logits, at = net(torch.where(shown < 0, x, shown)).detach().transpose(1, 2), shown >= 0
        accuracies.append(float((logits.argmax(2) == x)[at].float().mean()))
        perplexities.append(math.exp(F.cross_entropy(logits[at], x[at])))
    assert result["grid"][-1] == pytest.approx(accuracies, abs=1e-6)
    assert result["perplexity"]["grid"][-1] == pytest.approx(perplexities, rel=1e-5)
    assert result["metrics"]["perplexity"] == pytest.approx(sum(perplexities) / 3, rel=1e-5)
    assert len(result["perplexity"]["baseline"]) == 3 and len(result["perplexity"]["grid"]) == 3
    assert result["protocol"]["net"] == "Encoder" and result["protocol"]["head"] == "shared"


def test_masks_depend_on_the_seed_and_the_place_alone(tmp_path):
    text_file(tmp_path / "text.pt")
    args = main.parse(words(tmp_path, data_file="text.pt", seed=3))[0]
    data = main.load_datasets(args)

    def stream(position):
        torch.manual_seed(0), random.seed(0)
        continuum = main.Continuum(data.train, args, shown=data.problem.shown)
        continuum.position = position
        return list(continuum)

    seen = stream(0)
    for ours, theirs in zip(seen[7:], stream(7), strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[2], theirs[2])
    x, _, y = seen[0]
    assert x.shape == y.shape == (4, 12) and bool(((y >= 0).sum(1) == 2).all())
    places = torch.cat([y >= 0 for _, _, y in seen]).float().mean(0)
    assert places.min() > 0.05 and len({tuple(map(tuple, (y >= 0).tolist())) for _, _, y in seen}) > 15


def test_held_out_text_is_masked_alike_in_every_run(tmp_path):
    text_file(tmp_path / "text.pt")
    found = []
    for seed in (1, 2):
        args = main.parse(words(tmp_path, data_file="text.pt", validation=5, seed=seed))[0]
        found.append(main.load_datasets(args).test)
    assert len(found[0][0][2]) == 5
    assert all(
        torch.equal(a, b) for one, two in zip(*found, strict=True) for a, b in zip(one[1:], two[1:], strict=True)
    )


def test_general_pretraining_is_made_once_and_learns(run, tmp_path, capsys):
    made = "general pre-training, 7 steps"  # four passes over 60 sequences, of 32 each
    first = run(pretrain_steps=2000)
    assert made in capsys.readouterr().err
    (start,) = tmp_path.glob("text.pt.start-*")
    second = run(model="das", pretrain_steps=2000, das_initial="no", das_contrast=0, das_masks="no", seed=0)
    assert made not in capsys.readouterr().err and second["grid"] == first["grid"]
    start.write_bytes(start.read_bytes()[:-9])
    assert run(pretrain_steps=2000)["grid"] == first["grid"] and made in capsys.readouterr().err
    assert run(pretrain_steps=0)["baseline"] != first["baseline"]
    general = files.load(tmp_path / "text.pt").text.general
    net = Encoder(N_TOKENS, 12, 8, 1).eval()
    x, y = tokens.masked(general, tokens.choose(general, MASK, N_TOKENS, torch.Generator().manual_seed(0)))
    told = pretraining.Language(N_TOKENS, MASK, general)
    losses = []
    for steps in (1, 60):
        net.load_state_dict(pretraining.pretrain(told, 12, 8, 1, steps))
        losses.append(F.cross_entropy(net(x), y).item())
    assert losses[1] < losses[0] - 0.05


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"model": "gem"}, r"--model gem: learns images, and text.pt holds text; .* single, joint, ewc, das"),
        ({"parity": "yes"}, "--parity yes: text.pt holds text, and this is for images; give --parity no"),
        ({"net": "mlp"}, "--net mlp: text.pt holds text"),
        ({"head": "split"}, "--head split: text.pt holds text"),
        ({"engine": "fast"}, "--engine fast: this Encoder is not a stack of linear layers"),
        (
            {"model": "ewc", "ewc_fisher": "sampled"},
            "--ewc_fisher sampled: text.pt holds text.*give --ewc_fisher batch",
        ),
        (
            {"model": "ewc", "forgetting_mode": "yes", "forgetting_task_ids": 0},
            "--forgetting_mode yes: text.pt holds text",
        ),
        ({"n_hiddens": 10}, "--n_hiddens 10: a Transformer's width is divided among 4 heads; give 8"),
        ({"model": "das", "n_layers": 0}, "--n_layers 0: das masks the units of layers; give 1 or more"),
        ({"model": "das", "task_sample": 0}, "--task_sample 0: das needs a sample of each task"),
    ],
)
def test_what_does_not_fit_text_is_one_sentence(run, flags, sentence):
    with pytest.raises(UsageError) as caught:
        run(**flags)
    assert re.match(sentence, str(caught.value)), caught.value


def test_das_on_images_is_refused(data_file, tmp_path):
    with pytest.raises(UsageError, match=r"--model das: learns text, and tiny.pt holds images; .*single"):
        main.main(words(tmp_path, model="das", resume=False))


def test_text_that_diverges_keeps_its_record(run):
    result = run(model="das", lr=1e30)
    assert result["status"] == "diverged" and result["metrics"]["perplexity"] is None


def test_das_records_its_importances(run):
    result = run(model="das", n_layers=2)
    counts = result["counts"]
    assert counts["das_domains"] == 3 and len(counts["das_heads_general"]) == 8
    assert len(counts["das_intermediate_task_2"]) == 2 and all(0 <= v <= 1 for v in counts["das_heads_task_1"])


@pytest.mark.slow
@pytest.mark.slow
def test_more_domains_follow_a_run_that_has_ended(run, tmp_path):
    file_for("das", tmp_path / "more.pt")
    run(model="das", save_state="yes")
    (state,) = (tmp_path / "r").glob("*.state")
    second = run(model="das", data_file="more.pt", start_from=state, n_tasks=2)
    assert second["status"] == "done" and second["protocol"]["start_from"]
