"""Figures of what accuracy costs: against memory size, and against time."""

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from results.drawing.curves import centred
from results.drawing.figures import legend, looks, measured


def memory(cells):
    """ACC against stored examples per task, of cells label -> {memory size: list of Run}; None if there is one size."""
    sized = {label: {size: v for size, runs in sizes.items() if (v := measured(runs, "final"))} for label, sizes in
             cells.items()}  # fmt: skip
    places = sorted({size for sizes in sized.values() for size in sizes if isinstance(size, (int, float))})
    if len(places) < 2:
        return None
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    style, drawn = looks(cells), {}
    for label, sizes in sized.items():
        colour, _, marker, dashes = style[label]
        known = sorted(size for size in sizes if isinstance(size, (int, float)))
        if not known:  # a method without a memory: a level line
            for values in sizes.values():
                drawn[f"{label} (no memory)"] = axes.axhline(centred(values)[0], color=colour, linestyle=dashes)
            continue
        means, spreads = zip(*(centred(sizes[size]) for size in known), strict=True)
        drawn[label] = axes.errorbar(known, means, yerr=spreads, color=colour, marker=marker, linestyle=dashes, capsize=3,
                                     markeredgecolor="black", markeredgewidth=0.5)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{size:g}" for size in places])
    axes.minorticks_off()
    axes.set(xlabel="stored examples per task", ylabel="ACC: mean accuracy at the end")
    legend(axes, drawn, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def time(cells):
    """ACC against training time a step, one point a method with standard deviations; None if no run has its times."""
    points = {label: (measured(cell, "step"), measured(cell, "final")) for label, cell in cells.items()}
    points = {label: pair for label, pair in points.items() if all(pair)}
    if not points:
        return None
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    style, drawn = looks(cells), {}
    for label, (steps, finals) in points.items():
        (x, dx), (y, dy) = centred(steps), centred(finals)
        colour, _, marker, _ = style[label]
        drawn[label] = axes.errorbar(x, y, xerr=min(dx, 0.9 * x), yerr=dy, color=colour, marker=marker, markersize=7,
                                     capsize=2, linestyle="none", elinewidth=0.8, markeredgecolor="black",
                                     markeredgewidth=0.6)  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set(xlabel="training time, microseconds per step (log scale)", ylabel="ACC: mean accuracy at the end")
    legend(axes, drawn, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
