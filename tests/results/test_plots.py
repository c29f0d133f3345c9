"""python -m results.plot_results: every figure is drawn from records, and what cannot be drawn is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from results import plot_results
from results.comparing.cells import read
from results.drawing import curves
from tests.results.records import make, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    several = [make(m, s, 0.7 + s / 50) for m in ("single", "gem", "agem_closed") for s in range(3)]
    return write(tmp_path / "records", *several)


def test_figures(folder, tmp_path, capsys):
    assert plot_results.main([folder, "--output", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    names = sorted(Path(line).name for line in out.splitlines())
    assert names == sorted(
        f"{name}.{form}" for name in ("bars", "evolution", "grids", "time") for form in ("pdf", "png")
    )
    assert err == "results.plot_results: memory: not drawn, no two memory sizes are known\n"
    assert (tmp_path / "out" / "bars.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "out" / "bars.pdf").read_bytes()[:5] == b"%PDF-"


def test_what_the_figures_show(folder):
    found, _ = read([folder], "x", curves=True)
    drawn = plot_results.draw(found, wanted=("bars", "evolution", "grids"))
    bars = drawn["bars"].axes[0]
    assert [t.get_text() for t in bars.get_yticklabels()] == ["agem_closed", "gem", "single"]
    assert [round(p.get_width(), 6) for p in bars.patches] == [0.72] * 3
    assert len({p.get_hatch() for p in bars.patches}) == 3
    lines = [line for line in drawn["evolution"].axes[0].lines if len(line.get_xdata()) == 3]
    assert list(lines[0].get_ydata()) == pytest.approx([0.1, 0.9, 0.72])
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 3
    assert drawn["grids"].axes[0].images[0].get_array()[1][0] == pytest.approx(0.72)


def test_memory_sizes(tmp_path):
    records = [make(seed=s, memory=m, n_memories=m) for s in range(2) for m in (5, 50)]
    folder = write(tmp_path, *records, make("single"))
    assert plot_results.main([folder, "--only", "memory", "--output", str(tmp_path / "out")]) == 0
    assert plot_results.main([folder, "--output", str(tmp_path / "out")]) == 2  # bars would average 5 and 50 memories


def test_curves_and_colours():
    from results.reading.run import Run

    runs = [Run("x", record=make(final=v)) for v in (0.6, 0.8)]
    found = curves.curve(runs)
    assert found["step"] == [0, 7, 14] and found["changes"] == [7]
    assert found["first"][2] == (pytest.approx(0.7), pytest.approx(0.1414, abs=1e-4))
    assert curves.curve([Run("x")]) is None and curves.mean_grid([]) is None
    assert (curves.colour(0), curves.colour(1), curves.colour(2)) == ("#00224e", "#fee838", "#fee838")


def test_no_two_methods_look_alike():
    """Neither in colour nor in grey, where hatch, marker or dashes must do: eight differ, then colour tells them."""
    from results.drawing.figures import looks

    found = list(looks([str(i) for i in range(64)]).values())
    assert len({(colour, hatch) for colour, hatch, _, _ in found}) == 64
    assert len({(colour, marker) for colour, _, marker, _ in found}) == 64
    assert len({(colour, dashes) for colour, _, _, dashes in found}) == 64
    assert len({hatch for _, hatch, _, _ in found[:8]}) == len({marker for _, _, marker, _ in found[:8]}) == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "pie"], "--only pie: the figures are bars, evolution"),
        (["--output", "/dev/null/x"], "--output /dev/null/x: cannot be written"),
        (["--by", "lr,batch_size", "--allow", "x", "--only", ""], "--only : the figures are bars"),
    ],
)
def test_wrong_commands(folder, capsys, arguments, said):
    assert plot_results.main([folder, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_file_is_not_replaced(folder, tmp_path, capsys):
    os.mkfifo(pipe := tmp_path / "bars.png")
    assert plot_results.main([folder, "--only", "bars", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"results.plot_results: --output {tmp_path}: cannot be written (bars.png is there and is no regular file); "
        "give a folder\n"
    )
    assert pipe.is_fifo() and not (tmp_path / "bars.pdf").exists()


def test_without_matplotlib(folder, capsys, hide):
    hide("matplotlib")
    assert plot_results.main([folder]) == 2
    assert capsys.readouterr().err == (
        "results.plot_results: figures need matplotlib: pip install -r requirements-results.txt\n"
    )


def test_all_diverged(tmp_path, capsys):
    folder = write(tmp_path, make(status="diverged", grid=[]))
    assert plot_results.main([folder, "--output", str(tmp_path)]) == 2
    assert "all runs diverged" in capsys.readouterr().err


def test_from_its_own_folder(folder, tmp_path):
    command = [sys.executable, "plot_results.py", folder, "--only", "time", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT / "results", capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and (tmp_path / "out" / "time.png").exists()


def test_runs_without_a_grid_and_of_other_shapes(tmp_path, capsys):
    log = tmp_path / "log.txt"
    log.write_text("x: {'model': 'gem', 'seed': 0} # 0.75 -0.075 0.05 # 1.0\n")
    assert plot_results.main([str(log), "--output", str(tmp_path / "out")]) == 0
    assert "grids: not drawn, no run has a complete grid" in capsys.readouterr().err
    wide = make(seed=1, grid=[[0.9, 0.2, 0.1], [0.5, 0.5, 0.1]], baseline=[0.1, 0.1, 0.1], samples_per_task=[7, 7, 7])
    folder = write(tmp_path / "r", make(), {**wide, "evolution": None})
    allowed = ["--allow", "n_tasks,samples_per_task", "--output", str(tmp_path / "out")]
    assert plot_results.main([folder, *allowed]) == 0
    assert curves.colour(float("nan")) == "#d9d9d9"


def test_figures_say_what_is_not_comparable(tmp_path, capsys):
    sizes = [make(m, s, memory=k, n_memories=k) for m in ("gem", "agem_closed") for s in range(2) for k in (5, 50)]
    folder = write(tmp_path / "r", *sizes, make("single", batch_size=10))
    arguments = ["--by", "model,memory", "--output", str(tmp_path / "out")]
    assert plot_results.main([folder, *arguments]) == 0
    bars = "not comparable: batch_size differs: 1 (agem_closed 5, agem_closed 50, gem 5, gem 50), 10 (single -)"
    memory = "not comparable: batch_size differs: 1 (agem_closed, gem), 10 (single)"
    assert capsys.readouterr().err.splitlines() == [f"results.plot_results: {bars}", f"results.plot_results: {memory}"]
    found, _ = read([folder], "x", curves=True)
    drawn = plot_results.draw(found, ("model", "memory"))
    for name, figure in drawn.items():
        said = figure.get_suptitle().replace("\n", " ")
        assert said == (memory if name == "memory" else bars)
        figure.canvas.draw()
        box = figure._suptitle.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height  # all of it can be read
    found, _ = read([write(tmp_path / "same", make(), make("single"))], "x", curves=True)
    assert not any(figure.get_suptitle() for figure in plot_results.draw(found).values() if figure is not None)


NAMES = ["$x^$", "$$", "\\frac{", "_hidden", "a\ud800b", "\x1b[31mred", "\u202eevil", "a\nb", "%s", "{0}", "x" * 500]


def test_names_are_no_mathematics_and_no_markup(tmp_path, capsys):
    folder = write(tmp_path / "r", *map(make, NAMES), *(make(name, seed=1, memory=5) for name in NAMES[:4]))
    found, _ = read([folder], "x", curves=True)
    shown = [
        r"\x1b[31mred",
        "$$",
        "$x^$",
        "%s",
        "\\frac{",
        "_hidden",
        "a b",
        r"a\ud800b",
        "x" * 60,
        "{0}",
        r"\u202eevil",
    ]
    drawn = plot_results.draw(found, allow=("memory",), wanted=("bars", "evolution", "time", "memory"))
    assert [t.get_text() for t in drawn["bars"].axes[0].get_yticklabels()] == shown
    for name in ("evolution", "time", "memory"):
        where = drawn[name].legends or [drawn[name].axes[0].get_legend()]
        assert {t.get_text() for t in where[0].get_texts()} == set(shown), name
    assert len(plot_results.save({"bars": drawn["bars"]}, tmp_path / "f", ["png"])) == 1
    assert capsys.readouterr().err == ""


def test_what_the_font_lacks_is_told_in_a_sentence(tmp_path, capsys, recwarn):
    folder = write(tmp_path / "r", make("漢"))
    assert plot_results.main([folder, "--only", "bars", "--output", str(tmp_path / "f")]) == 0
    assert capsys.readouterr().err.startswith("results.plot_results: Glyph 28450") and not recwarn.list


def test_what_is_too_much_for_a_figure(tmp_path, capsys):
    """An image of 2^16 pixels cannot be drawn, and a tick for each of 50,000 tasks takes for ever."""
    folder = write(tmp_path / "r", *(make(seed=s) for s in range(61)))
    assert plot_results.main([folder, "--by", "seed", "--output", str(tmp_path)]) == 2
    assert "61 rows are more than the 60 that a figure shows" in capsys.readouterr().err
    n = 20_000
    wide = make(
        grid=[[0.5] * n], baseline=[0.1] * n, evolution={"step": [*range(n)], "task": [*range(n)], "accuracy": []}
    )
    wide["evolution"]["accuracy"] = [[0.5] * n for _ in range(2)]
    wide["evolution"] |= {"step": [0, 1], "task": [0, 1]}
    found, _ = read([write(tmp_path / "s", wide)], "x", curves=True)
    drawn = plot_results.draw(found, wanted=("grids", "evolution"))
    assert len(drawn["grids"].axes[0].get_xticks()) <= 20 and len(drawn["evolution"].axes[0].collections) < 5
