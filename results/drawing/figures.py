"""The figures of results.plot_results: functions from cells (label -> list of Run) to matplotlib figures.

Every method keeps its colour (Okabe and Ito's palette, safe for the colour-blind), hatch, marker and dashes in all
figures, so that they can be read in black and white.
"""

import math
import textwrap

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.comparing.measures import MEASURES
from results.drawing.curves import centred, curve, mean_grid, named

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999", "#F0E442")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "+++")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "hatch.linewidth": 0.6}
STYLE |= {"text.parse_math": False}  # a name may hold dollars
TASKS = 20  # the most tasks of a grid that have a number each


def looks(labels):
    """label -> (colour, hatch, marker, dashes). Colours repeat after eight labels; each round shifts the others by one."""
    places = {label: (i % 8, (i + i // 8) % 8) for i, label in enumerate(labels)}
    return {label: (COLOURS[i], HATCHES[j], MARKERS[j], DASHES[j]) for label, (i, j) in places.items()}


def warn(figure, sentences):
    """Write `sentences`, which say why its runs are not comparable, above a figure."""
    if sentences:
        width = int(17 * figure.get_figwidth())  # characters of this size
        lines = [line for sentence in sentences for line in textwrap.wrap(sentence, width)]
        figure.suptitle("\n".join(lines), fontsize=7, color="#8a3600", x=0.01, ha="left", linespacing=1.3)


def legend(where, drawn, **how):
    """A legend of {label: what is drawn}. matplotlib's own would leave out labels that begin with an underscore."""
    where.legend(list(drawn.values()), list(drawn), frameon=False, **how)


def measured(cell, key):
    return [v for run in cell if (v := MEASURES[key].value(run)) is not None]


def bars(cells):
    """ACC, BWT and FWT: a bar with the standard deviation for each method, and a dot for each run."""
    figure = Figure(figsize=(9, 0.9 + 0.36 * len(cells)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    style = looks(cells)
    for axes, key in zip(panels, ("final", "backward", "forward"), strict=True):
        for place, (label, cell) in enumerate(cells.items()):
            values = measured(cell, key)
            if not values:
                axes.text(0, place, " X", va="center")
                continue
            centre, spread = centred(values)
            colour, hatch, *_ = style[label]
            axes.barh(place, centre, 0.72, color=colour, hatch=hatch, edgecolor="black", linewidth=0.6)
            if spread:
                axes.errorbar(centre, place, xerr=spread, color="black", capsize=3, linewidth=1.2)
            offsets = [place + 0.24 * (i / max(len(values) - 1, 1) - 0.5) for i in range(len(values))]
            axes.plot(values, offsets, "o", color="white", markeredgecolor="black", markersize=3, markeredgewidth=0.6)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(MEASURES[key].label)
    panels[0].set_yticks(range(len(cells)), list(cells))
    panels[0].invert_yaxis()
    return figure


def evolution(cells):
    """Accuracy on the first task learned, and mean accuracy on all tasks, over training; None if nobody recorded it."""
    curves = {label: found for label, cell in cells.items() if (found := curve(cell))}
    if not curves:
        return None
    figure = Figure(figsize=(9, 3.6 + 0.2 * math.ceil(len(curves) / 4)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    style, drawn = looks(cells), {}
    for label, found in curves.items():
        colour, _, marker, dashes = style[label]
        steps = found["step"]
        every = max(1, len(steps) // 8)
        start = list(style).index(label) % every
        for axes, key in zip(panels, ("first", "mean"), strict=True):
            centre, spread = zip(*found[key], strict=True)
            (line,) = axes.plot(steps, centre, linestyle=dashes, color=colour, marker=marker, markevery=(start, every),
                                markersize=4, linewidth=1.4, markeredgecolor="black", markeredgewidth=0.4)  # fmt: skip
            drawn[named(label, found, cells[label])] = line
            low, high = ([c + sign * s for c, s in zip(centre, spread, strict=True)] for sign in (-1, 1))
            axes.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)
    for axes, title in zip(panels, ("the first task learned", "all tasks, mean"), strict=True):
        axes.vlines(next(iter(curves.values()))["changes"], 0, 1, color="0.85", linewidth=0.7, zorder=0)
        axes.set(title=title, xlabel="steps", ylim=(0, 1))
    panels[0].set_ylabel("accuracy")
    legend(figure, drawn, loc="outside lower center", ncols=4)
    return figure


def grids(cells):
    """The accuracy grids side by side, means over runs, on one scale; None if there is none."""
    shown = {label: grid for label, cell in cells.items() if (grid := mean_grid(cell))}
    if not shown:
        return None
    across = min(4, len(shown))
    down = math.ceil(len(shown) / across)
    figure = Figure(figsize=(2.6 * across + 0.9, 2.75 * down + 0.2), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    numbers = all(len(mean[0]) <= 10 for mean in shown.values())
    for axes in panels.flat:
        axes.axis("off")
    for axes, (label, mean) in zip(panels.flat, shown.items(), strict=False):
        image = axes.imshow(mean, vmin=0, vmax=1, cmap="cividis")
        axes.axis("on")
        axes.set_title(f"{label} (n {len(cells[label])})", fontsize=9)
        step = 1 if len(mean[0]) <= 10 else 5 * math.ceil(len(mean[0]) / (5 * TASKS))
        axes.set_xticks(range(0, len(mean[0]), step), range(1, len(mean[0]) + 1, step), fontsize=7)
        axes.set_yticks(range(0, len(mean), step), range(1, len(mean) + 1, step), fontsize=7)
        axes.spines[:].set_visible(False)
        if numbers:
            for i, row in enumerate(mean):
                for j, v in enumerate(row):
                    axes.text(j, i, "X" if math.isnan(v) else f"{100 * v:.0f}", ha="center", va="center",
                              fontsize=6 if len(mean[0]) > 6 else 8, color="white" if v < 0.58 else "black")  # fmt: skip
    figure.supxlabel("accuracy (%) on task" if numbers else "accuracy on task", fontsize=9)
    figure.supylabel("after learning task", fontsize=9)
    figure.colorbar(image, ax=panels, shrink=0.8, pad=0.01, label="accuracy")
    return figure
