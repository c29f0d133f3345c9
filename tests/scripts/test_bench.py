"""What scripts/bench.py compares computes the same; and where its numbers go."""

import os

import torch

from scripts import bench
from scripts.benching import resnet


def test_a_file_that_cannot_be_written_is_found_before_anything_is_timed(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("pipe", "is there and is no regular file"), ("absent/x.json", "No such file or directory")):
        path = tmp_path / name
        assert bench.cli(["--only", "steps", "--json", str(path), "--data_path", str(tmp_path / "empty")]) == 2
        said = capsys.readouterr().err
        assert said == f"bench.py: --json {path}: cannot be written ({reason}); give another name\n"
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_the_plain_loop_makes_the_step_of_gem(monkeypatch):
    monkeypatch.setattr(resnet, "TASKS", 3)
    monkeypatch.setattr(resnet, "MEMORIES", 5)
    models, tasks = resnet.contenders()
    gem, *plain = models.values()
    for model in (gem, *(loop.net for loop in plain)):
        model.double()
    tasks[:] = [(x.double(), y) for x, y in tasks]
    gem.memory.x = gem.memory.x.double()
    before = [p.detach().clone() for p in gem.parameters()]
    x, y = tasks[-1]
    for model in models.values():
        model.observe(x, 2, y)
    assert gem.counts["violations"]
    moved = [p.detach() - old for p, old in zip(gem.parameters(), before, strict=True)]
    for model in plain:
        theirs = [p.detach() - old for p, old in zip(model.net.parameters(), before, strict=True)]
        assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(moved, theirs, strict=True))
