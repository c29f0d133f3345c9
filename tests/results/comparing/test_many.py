"""Thousands of runs and rows: what is done with them grows with their number and not with its square."""

import pytest

from results import RecordError, compare, regress
from results.comparing import cells, choice, comparable, matching, protocol
from results.drawing import curves, webpage
from results.reading import training
from results.reading.run import Run
from results.reading.text import parse_text
from tests.results.records import make, write


class Counted(str):
    """A text that counts how often it was compared with others."""

    times = 0

    def __eq__(self, other):
        Counted.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def runs(n, **changes):
    return [
        Run("x", record=make(seed=i, started=f"{i:06d}", **{k: v(i) for k, v in changes.items()})) for i in range(n)
    ]


def test_labels_of_many_rows(monkeypatch):
    """Rows whose labels are cut to the same text are numbered."""
    label = cells.label
    monkeypatch.setattr(cells, "label", lambda key: Counted(label(key)))
    Counted.times = 0
    labels = list(cells.labels([("x" * 60 + str(i),) for i in range(400)]).values())
    assert Counted.times < 2000
    assert len(set(labels)) == 400 and labels[0] == "x" * 60 and labels[-1] == "x" * 60 + " #400"


def test_distinct_values_are_found_without_comparing_all_pairs():
    Counted.times = 0
    values = [Counted(i) for i in range(500)]
    assert cells.distinct(values * 2) == values and Counted.times < 3000
    assert cells.distinct([1, 1.0, True, [1, 2], [1, 2], [[1]], [[1]], {"a": 1}, None, "1"]) == (
        [1, [1, 2], [[1]], {"a": 1}, None, "1"]
    )


def test_facts_of_our_runs_are_gathered_once(tmp_path, monkeypatch, capsys):
    ours, logged = (write(tmp_path / name, *(make(seed=s) for s in range(12))) for name in ("ours", "logged"))
    asked, facts = [], matching.facts
    monkeypatch.setattr(matching, "facts", lambda run: asked.append(run) or facts(run))
    assert regress.main(["--against", logged, ours]) == 0
    assert "12 of 12 logged runs checked" in capsys.readouterr().out
    assert len(asked) < 5 * 24


@pytest.mark.parametrize("text", ["single", "lr=0.3", "model=single,lr=0.3"])
def test_a_baseline_of_many_rows_is_the_nearest(text):
    """As the definition has it: the cell that agrees in most fields; and found without looking at all pairs of cells."""
    by = ("model", "lr", "seed")
    keys = [(Counted(m), lr, s) for m in ("gem", "single") for lr in (0.1, 0.3) for s in range(40)]
    Counted.times = 0
    found = choice.baseline(dict.fromkeys(keys), by, text)
    assert Counted.times < 50 * len(keys)
    wanted = choice.parsed(text, by, "baseline")
    for key in keys:
        own = [k for k in keys if choice.fits(k, by, wanted) and ("model" in wanted or k[0] == key[0])]
        assert found[key] == max(own, key=lambda k: sum(a == b for a, b in zip(k, key, strict=True)))


def test_the_rows_of_a_page_are_looked_at_once_each(monkeypatch):
    asked, numeric = [], webpage._numeric
    monkeypatch.setattr(webpage, "_numeric", lambda value: asked.append(value) or numeric(value))
    webpage.page(runs(40, lr=float), by=("lr",))
    assert len(asked) == 40


def test_a_page_of_many_tasks_and_evaluations():
    """A million cells made a page of 200 MB, which no browser shows."""
    T, E = 230, 5001
    rows = [[(i + j) / 500 for j in range(T)] for i in range(T)]
    curve = {"step": [*range(E)], "task": [0] * E, "accuracy": [[0.5] * 2] * E}
    run = Run("x", grid=rows, baseline=rows[0], record=make(evolution=curve))
    page = webpage.page([run])
    shown = [*range(1, 230, 3), 230]
    assert page.count("<td style") == len(shown) ** 2 and f"n 1, {len(shown)} of 230 tasks" in page
    assert "gem: after task 4, on task 230: 0.4640" in page and "gem: after task 230, on task 1: 0.4580" in page
    steps = [*range(0, 5000, 3), 5000]
    assert curves.lines({"gem": [run]})[0][0]["step"] == steps and len(page) < 10**6
    assert curves.thinned([*range(7)], 7) == [*range(7)] and curves.thinned([], 7) == []


def test_more_panels_than_a_figure_has():
    pytest.importorskip("matplotlib")
    from results.drawing import probes

    run = Run("x", record=make(probes={"curve": {"task": [*range(401)], "old": [[0.1]] * 401, "new": [[0.1]] * 401}}))
    with pytest.raises(RecordError, match="1 x 401 panels are more than the 400 of a figure; give fewer runs"):
        probes.curve({"gem": [run]})


def test_only_who_draws_curves_holds_them(tmp_path):
    folder = write(tmp_path / "r", make())
    (drawn,), (compared,) = (cells.read([folder], "x", curves=drawing)[0] for drawing in (True, False))
    assert "evolution" in drawn.record and "evolution" not in compared.record
    assert compare.compare([compared]) == compare.compare([drawn])
    assert protocol.terms([compared]) == protocol.terms([drawn])
    assert comparable.warnings(cells.gather([compared]), ("model",)) == []


def test_a_training_log_of_many_tasks(monkeypatch):
    """Each line looks wrong, since its accuracy is in percent; no line and no sentence is compared with all before it."""

    class Looked(training.Trained):
        times = 0

        def __getattribute__(self, name):
            Looked.times += name == "task"
            return super().__getattribute__(name)

    class Slips(list):
        def __contains__(self, sentence):
            raise AssertionError("looks through all of them")

    monkeypatch.setattr(training, "Trained", Looked)
    monkeypatch.setattr(training, "Run", lambda *place: Run(*place, slips=Slips()))
    log = [f"task {t}\n1, train loss 0.5, train acc 97.5, val loss 1.5, val acc 95.5\n" for t in range(1, 501)]
    (run,) = parse_text("# A\n" + "".join(log), "x")
    assert Looked.times < 5000
    assert [entry.task for entry in run.trained] == [*range(1, 501)] and len(run.slips) == 1000
    first, second = parse_text("# A\n" + "".join(log[:9] + log[3:5]), "x")
    assert (first.trained[-1].task, second.trained[0].task) == (9, 4)


def test_a_field_that_was_not_given_is_no_term_of_the_protocol():
    def terms(*backbones):
        records = [make(args={**make()["args"], "backbone": name}) for name in backbones]
        return dict(protocol.terms([Run("x", record=record) for record in records])).get("backbone")

    assert terms("") is terms("", "") is None
    assert terms("a.pt") == "a.pt" and terms("", "a.pt") == "none, a.pt"
