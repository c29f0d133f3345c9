"""scripts/studies/split_heads.py: variants, the choice and the table, from records made by hand."""

import pytest

from results.reading.logs import parse
from scripts.studies import split_heads
from scripts.sweeping import jobs
from tests.results.records import make, write


def record(job, final, **changes):
    """A record of a job of the study."""
    made = make(job.args["model"], job.args["seed"], args=dict(job.args), final=final, **changes)
    made["protocol"]["data_file"] = job.args["data_file"]
    return made


def found(text):
    """The jobs of command lines."""
    return jobs.read({"lines": text}, {})[0]


def rows(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line][2:]


@pytest.mark.parametrize("name", split_heads.VARIANTS)
def test_a_run_is_of_its_variant(name, tmp_path):
    variant = split_heads.VARIANTS[name]
    tried = f"--{variant.tried} {variant.values[0]}" if variant.tried else ""
    (job,) = found(f"{variant.flags} --lr 0.1 {tried} {split_heads.COMMON} --data_file mnist_split.pt --seed 0")
    (run,) = parse(write(tmp_path / "r", record(job, 0.5)))
    assert split_heads.variant_of(run) == name
    assert found(f"{variant.flags} {split_heads.flags_of(run, variant)} --seed 0")[0].args["lr"] == 0.1


def test_the_best_setting_is_chosen_by_its_mean(tmp_path, capsys):
    scores = {("0.01", 100): 0.5, ("0.01", 101): 0.9, ("0.03", 100): 0.8, ("0.03", 101): 0.8, ("0.1", 100): 0.99}
    text = "\n".join(
        f"--model spg --lr {lr} {split_heads.COMMON} --data_file cifar100.pt --n_tasks 3 --validation 500 --seed {seed}"
        for lr, seed in scores
    )
    status = ["done"] * 4 + ["diverged"]
    made = [
        record(job, final, status=how) for job, final, how in zip(found(text), scores.values(), status, strict=True)
    ]
    assert split_heads.main(["choice", write(tmp_path / "r", *made)]) == 0
    assert rows(capsys.readouterr().out) == [["cifar100.pt", "SPG", "--lr 0.03", "0.8000", "--lr 0.01 (0.7000)"]]


def test_the_table(tmp_path, capsys):
    text = "\n".join(
        f"{flags} {split_heads.COMMON} --data_file mnist_split.pt --first_task 2 --seed 0..2"
        for flags in (
            "--model single --lr 0.1",
            "--model ncl --lr 0.01 --ncl_radius 0.3",
            "--model spg --lr 0.1 --spg_chi no",
        )
    )
    finals = {"single": (0.5, 0.6, 0.7), "ncl": (0.6, 0.7, 0.8), "spg": (0.5, 0.7, 0.9)}
    made = [record(job, finals[job.args["model"]][job.args["seed"]]) for job in found(text)]
    assert split_heads.main(["table", write(tmp_path / "r", *made)]) == 0
    told = {row[1]: row[2:] for row in rows(capsys.readouterr().out)}
    assert told["single"] == ["--lr 0.1", "3", "0.6000 ± 0.1000", "-", "-"]
    assert told["NCL with a radius"][:4] == [
        "--lr 0.01 --ncl_radius 0.3",
        "3",
        "0.7000 ± 0.1000",
        "+0.1000 [+0.1000, +0.1000]",
    ]
    # Differences 0, 0.1, 0.2: mean 0.1, standard error 0.1 / sqrt(3), Student's quantile of two degrees 4.3027.
    assert told["SPG without CHI"][3:] == ["+0.1000 [-0.1484, +0.3484]", "+1.7"]


def test_every_chosen_setting_is_a_candidate():
    settings = ("model", "lr", "memory_strength", "ncl_radius", "spg_chi", "spg_chi_loss")
    tried = {tuple(job.args[name] for name in (*settings, "data_file")) for job in found(split_heads.settings())}
    assert {tuple(job.args[name] for name in (*settings, "data_file")) for job in found(split_heads.lines())} <= tried
