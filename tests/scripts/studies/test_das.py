"""scripts/studies/das.py: its tables by hand, on records as a run leaves them, and its pictures."""

import pytest

from model.arguments import FLAGS
from scripts.studies import das
from tests.results.records import make, write

OWN = {name: FLAGS[name].default for name in das.OWN}
SHARED = {"n_memories": 0, "memory_strength": 0.0, "lr": 0.003, "validation": 0}


def run(model, seed, final, forgotten, order=(0, 1), **flags):
    """A run of two domains: what was learned first ends at `final` - `forgotten`, what came second at `final`."""
    first, second = order
    grid = [[0.4, 0.4], [0.4, 0.4]]
    grid[0][first], grid[1][first], grid[1][second] = final, final - forgotten, final
    found = make(model, seed, grid=grid, final=final - forgotten / 2, task_order=list(order), memory=0, net="Encoder",
                 data_file="text_domains.pt", metrics={"perplexity": 6.0 + seed, "perplexity_growth": 1.2})  # fmt: skip
    found["args"] |= {**SHARED, **OWN, **flags}
    found["protocol"]["validation"] = found["args"]["validation"]
    if model == "das":
        for name, size in (("general", 0.5), (f"task_{first}", 0.25), (f"task_{second}", 0.75)):
            found["counts"] |= {f"das_{kind}_{name}": [size, size + seed / 10] for kind in das.TYPES}
            found["counts"][f"das_heads_{name}"] = [size, 0.0, size + seed / 10, 1.0]
    return found


@pytest.fixture
def printed(tmp_path, capsys):
    def printed(*runs, figures=False, of="das"):
        folder = write(tmp_path / "r", *runs)
        assert das.main([folder, "--importance", of, *(["--figures", str(tmp_path / "f")] if figures else [])]) == 0
        return capsys.readouterr().out

    return printed


def row(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_differences_are_paired_over_seeds_with_their_standard_errors(printed):
    runs = [run("single", seed, 0.5 + seed / 10, 0.1, order) for seed, order in ((0, (0, 1)), (1, (1, 0)))]
    runs += [run("das", seed, 0.5 + seed / 10, 0.02 + seed / 50, order) for seed, order in ((0, (0, 1)), (1, (1, 0)))]
    runs += [run("das", 0, 0.5, 0.1, das_masks=False, das_contrast=0.0)]
    text = printed(*runs)
    assert row(text, "single") == [
        "2",
        "0.003",
        "0.5000",
        "-",
        "0.5500",
        "-",
        "0.1000",
        "-",
        "6.500",
        "-",
        "1.2000",
        "-",
    ]
    # 0.08 and 0.06 less forgotten: mean 0.07, standard error 0.01; half of that is gained in the end.
    assert row(text, "das")[2:4] + row(text, "das")[6:8] == ["0.5350", "+0.0350 (0.0050)", "0.0300", "-0.0700 (0.0100)"]
    assert row(text, "das --das_contrast 0 --das_masks no")[:4] == ["1", "0.003", "0.4500", "+0.0000"]


def test_joint_has_no_forgetting(printed):
    together = run("joint", 0, 0.5, 0.1)
    together |= {"joint": "its parts mix tasks", "backward": None, "forward": None}
    together["metrics"]["perplexity_growth"] = None
    assert row(printed(run("single", 0, 0.5, 0.1), together), "joint")[4:] == [
        "-",
        "-",
        "-",
        "-",
        "6.000",
        "+0.000",
        "-",
        "-",
    ]


def test_runs_of_another_protocol_are_not_averaged(tmp_path, capsys):
    folder = write(tmp_path / "r", run("single", 0, 0.5, 0.1), run("single", 1, 0.5, 0.1, lr=0.1))
    assert das.main([folder]) == 2 and "differ in lr: 0.003, 0.1; they are not averaged" in capsys.readouterr().err


def test_held_out_runs_choose_the_rate_and_the_penalty(printed):
    held = {"validation": 400}
    runs = [run("single", seed, final, 0.1, lr=lr, **held)
            for seed in (0, 1) for lr, final in ((0.001, 0.5), (0.01, 0.4 + seed / 5))]  # fmt: skip
    runs += [run("ewc", 0, 0.6, 0.1, n_memories=5, memory_strength=strength, **held) for strength in (10.0, 100.0)]
    text = printed(*runs, run("single", 0, 0.7, 0.1))
    held_out, differences = text.split("Differences to single")
    assert row(held_out, "single, lr 0.001") == ["2", "0.4500", "0.5000", "0.1000", "6.500", "1.2000"]
    assert row(held_out, "single, lr 0.01")[1] == "0.4500"
    assert row(held_out, "ewc, lr 0.003, strength 100") == ["1", "0.5500", "0.6000", "0.1000", "6.000", "1.2000"]
    assert row(differences, "single")[:3] == ["1", "0.003", "0.6500"]


def test_held_out_runs_choose_the_weight_of_the_contrast(printed):
    runs = [run("das", 0, 0.5 + weight, 0.1, validation=400, das_contrast=weight) for weight in (0.01, 0.1)]
    assert row(printed(*runs, run("single", 0, 0.7, 0.1)), "das, lr 0.003, contrast 0.1")[:2] == ["1", "0.5500"]


def test_importance_is_that_of_a_domain_wherever_it_came(printed):
    """Domain 0 came first with seed 0 and second with seed 1."""
    both = [run("das", 0, 0.5, 0.1, das_contrast=0.1), run("das", 1, 0.5, 0.1, (1, 0), das_contrast=0.1)]
    text = printed(*both, of="das --das_contrast 0.1")
    head = next(line for line in text.splitlines() if line.startswith("| units"))
    assert [cell.strip() for cell in head.split("|")[2:-1]] == ["general", *das.DOMAINS[:2]]
    assert row(text, "head, layer 1") == ["0.500", "0.500", "0.500"]
    assert row(text, "output, layer 2") == ["0.550", "0.550", "0.550"]


def test_classifiers_have_a_table_of_their_own(printed):
    runs = [run("single", 0, 0.5, 0.1)]
    for seed in (0, 1):
        for model, gain in (("single", 0.0), ("das", 0.1 + seed / 50)):
            tuned = {"accuracy": [0.5 + gain, 0.3 + gain], "f1": [0.2, 0.2], "usual": [0.4, 0.3], "usual_f1": [0.1, 0.2],
                     "mean_accuracy": 0.4 + gain, "mean_f1": 0.2}  # fmt: skip
            runs.append(run(model, seed, 0.5, 0.1) | {"finetuning": tuned})
            runs[-1]["protocol"]["data_hash"] = "b" * 64
    differences, classifiers = printed(*runs).split("Classifiers of each domain")
    assert row(differences, "single")[0] == "1"
    assert row(classifiers, "das") == [
        "2",
        "0.5100",
        "+0.1100 (0.0100)",
        "0.2000",
        "+0.0000 (0.0000)",
        "0.610",
        "0.410",
    ]
    usual = row(classifiers, "most frequent label")
    assert (usual[1], usual[3]) == ("0.3500", "0.1500")
    assert list(das.DOMAINS[:2]) == [cell.strip() for cell in classifiers.splitlines()[2].split("|")[-3:-1]]


def test_pictures(printed, tmp_path):
    pytest.importorskip("matplotlib")
    printed(run("single", 0, 0.5, 0.1), run("das", 0, 0.5, 0.1), run("joint", 0, 0.5, 0.1), figures=True)
    assert all((tmp_path / "f" / f"das_{name}.png").stat().st_size > 5000 for name in ("importance", "forgetting"))


def test_pictures_without_the_method(printed, tmp_path):
    pytest.importorskip("matplotlib")
    printed(run("single", 0, 0.5, 0.1), figures=True)
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["das_forgetting.png"]
