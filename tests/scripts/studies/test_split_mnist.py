"""The tables of the split-MNIST study, from records made by hand."""

import pytest

from data import DataError, standard
from model.arguments import FLAGS
from scripts.studies import split_mnist
from tests.results.records import make, write


def record(row, seed, seen, zeros=None, **more):
    args = {flag.name: flag.default for flag in FLAGS.values()} | split_mnist.parsed(row.line) | {"seed": seed, **more}
    probes = {"probes": {"sparsity": {"task": [0, 1, 2, 3, 4], "sparsity": zeros}}} if zeros else {}
    stopping = {"stopping": {"epochs": [2, 4, 6, 8, 10]}} if row.orthogonal else {}
    made = make(args["model"], seed, args=args, seen=seen, **probes, **stopping)
    made["protocol"] |= {"data_file": "mnist_split.pt", "task_order": [0, 1, 2, 3, 4]}
    return made


def test_every_number_of_the_note_is_found():
    note = split_mnist.logged()
    by_label = {row.label: split_mnist.note_of(row, note) for row in split_mnist.ROWS}
    assert len(by_label) == len(split_mnist.ROWS)
    assert by_label["joint"] == {"accuracy": {5: 0.9646}, "sparsity": {5: 0.5437}}
    assert by_label["OGD, batch norm, L1 5.0, until .95"]["accuracy"][5] == 0.3883
    assert list(by_label["sequential"]["sparsity"].values()) == [0.4987, 0.7782, 0.8593, 0.8637, 0.9026]
    assert list(by_label["sequential, batch norm"]["accuracy"].values())[1:4] == [0.485862, 0.316407, 0.253310]


def test_a_rows_runs_are_beside_the_notes_number(tmp_path, capsys):
    sequential, ogd = (
        next(r for r in split_mnist.ROWS if r.label == label)
        for label in ("sequential", "OGD, batch norm, L1 5.0, until .95")
    )
    write(
        tmp_path / "r",
        *(
            record(sequential, seed, [1, 0.5, 0.3, 0.25, 0.19 + seed / 50], [0.5, 0.7, 0.8, 0.8, 0.9])
            for seed in (0, 1)
        ),
        record(ogd, 0, [1, 0.8, 0.5, 0.4, 0.4]),
        record(sequential, 2, [0, 0, 0, 0, 0], norm="batch", lr=0.5),  # no row
    )
    assert split_mnist.main(["table", str(tmp_path / "r")]) == 0
    out = capsys.readouterr().out
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in out.splitlines()
        if "|" in line
    }
    assert cells["sequential"][:6] == ["2", "0.1985", "0.2000 (0.0141)", "+0.0015", "0.9026", "0.9000 (0.0000)"]
    assert (
        cells["OGD, batch norm, L1 5.0, until .95"][:4] == ["1", "0.3883", "0.4000", "+0.0117"]
        and cells["OGD, batch norm, L1 5.0, until .95"][7] == "30"
    )
    assert cells["sequential: accuracy"] == [
        "1.000 (0.996)",
        "0.500 (0.486)",
        "0.300 (0.314)",
        "0.250 (0.252)",
        "0.200 (0.199)",
    ]
    assert cells["sequential, batch norm"][:3] == ["0", "0.1987", "X"]


def test_the_candidate_nearest_to_the_note_comes_first(tmp_path, capsys):
    rows = [row for row in split_mnist.ROWS if row.label in split_mnist.JUDGED and not row.orthogonal]
    runs, plain = [], {name: FLAGS[name].default for name in split_mnist.SETTING}
    for setting, joint in ((split_mnist.PLAIN_CHOICES[0], 0.90), (split_mnist.PLAIN_CHOICES[3], 0.96)):
        for row in rows:
            note = split_mnist.note_of(row, split_mnist.logged())
            seen, zeros = ([note[name].get(t, 0) for t in range(1, 6)] for name in ("accuracy", "sparsity"))
            end = joint if row.label == "joint" else seen[4]
            runs.append(record(row, 100, [*seen[:4], end], zeros, **plain | split_mnist.parsed(setting)))
    write(tmp_path / "r", *runs)
    assert split_mnist.main(["choice", str(tmp_path / "r")]) == 0
    first, second, third = capsys.readouterr().out.splitlines()[2:5]
    assert split_mnist.PLAIN_CHOICES[3] in first and split_mnist.PLAIN_CHOICES[0] in second and "| X |" in third
    numbers = sum(len(found) for row in rows for found in split_mnist.note_of(row, split_mnist.logged()).values())
    assert float(first.split("|")[2]) == pytest.approx(0.0046 / numbers, abs=6e-5)  # one of them differs


def test_without_mnist_it_runs_on_the_digits_and_says_so(monkeypatch, capsys):
    asked = []

    def missing(path, raw_path):
        asked.append((str(path), raw_path))
        raise DataError("MNIST's raw files are missing")

    monkeypatch.setattr(standard, "ensure", missing)
    assert split_mnist.data(["--data_path", "here", "--quick"]) == "--data_file digits_split.pt --only hidden_sizes"
    assert asked == [("here/mnist_split.pt", None)]
    assert "note: the study runs on digits_split.pt, without LeNet-5, since MNIST's" in capsys.readouterr().err
    assert split_mnist.data(["--help"]) == split_mnist.data(["--data_file", "x.pt"]) == ""
    assert all(("hidden_sizes" in row.flags) != ("lenet5" in row.flags) for row in split_mnist.ROWS)
