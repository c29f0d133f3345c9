"""The figures of results.probe: functions from cells (label -> list of Run) to figures; None where there is nothing."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results import RecordError
from results.drawing.curves import centred
from results.drawing.figures import COLOURS, DASHES, MARKERS, legend, looks
from results.reading.probed import arrays, entry

ROUNDING = 1e-4  # a cosine below its negative is a violated constraint; float32 steps leave less
WINDOW = 10  # evaluations of a running mean
PANELS = 400  # of a figure
POINTS = 150  # of a line; longer ones are means over stretches of equal ratio
PROJECTIONS = ("pca", "tsne")


def sparsity(cells):
    """Share of zeros among the hidden activations after each task, mean and standard deviation."""
    return _by_task(cells, "sparsity", "sparsity", "share of hidden activations that are 0", "population sparsity")


def _by_task(cells, probe, key, ylabel, title):
    found = {label: [e[key] for run in cell if (e := entry(run, probe))] for label, cell in cells.items()}
    found = {label: rows for label, rows in found.items() if rows and rows[0]}
    if not found:
        return None
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes, style, drawn = figure.subplots(), looks(found), {}
    for i, (label, rows) in enumerate(found.items()):
        centre, spread = _over(rows)
        colour, _, marker, dashes = style[label]
        x = np.arange(1, len(centre) + 1) + 0.04 * (i - (len(found) - 1) / 2)
        drawn[f"{label} (n {len(rows)})"] = axes.errorbar(
            x, centre, yerr=spread, color=colour, marker=marker, linestyle=dashes, capsize=3,
            markeredgecolor="black", markeredgewidth=0.5,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="after task", ylabel=ylabel, title=title, ylim=(0, 1.02))
    legend(axes, drawn, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def epochs(cells):
    """Loss and accuracy of every epoch, in training and on the held-out examples of all tasks seen, of one run a cell."""
    found = {label: (cell[0], e) for label, cell in cells.items() if (e := entry(cell[0], "epochs")) and e["task"]}
    if not found:
        return None
    figure = Figure(figsize=(8, 2.1 * len(found) + 0.7), layout="constrained")
    panels, drawn = figure.subplots(len(found), 2, squeeze=False, sharex=True, sharey="col"), {}
    for row, (label, (run, e)) in zip(panels, found.items(), strict=True):
        x = range(1, len(e["task"]) + 1)
        for axes, name in zip(row, ("loss", "accuracy"), strict=True):
            for i, (key, what) in enumerate(((f"train_{name}", "training"), (name, "held out, all tasks seen"))):
                (drawn[what],) = axes.plot(x, _floats(e[key]), color=COLOURS[3 * i], linestyle=DASHES[i], marker=MARKERS[i],
                                           markersize=3, linewidth=1.2)  # fmt: skip
            for i in (i for i in range(1, len(e["task"])) if e["task"][i] != e["task"][i - 1]):
                axes.axvline(i + 0.5, color="0.85", linewidth=0.8, zorder=0)
        row[0].set_yscale("log")
        row[0].yaxis.set_major_formatter(_plainly)
        row[1].set_ylim(-0.02, 1.02)
        row[0].set_ylabel(f"{label}, seed {run.fact('seed')}\ncross-entropy (nats)", fontsize=8)
        row[1].set_ylabel("accuracy", fontsize=8)
    for axes, title in zip(panels[0], ("loss", "accuracy"), strict=True):
        axes.set_title(title, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("epoch, all tasks one after another (grey lines: a new task)", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, drawn, loc="outside lower center", ncols=2)
    return figure


def curve(cells):
    """Accuracy on old and new tasks after each of the first mini-batches of a task; the first task is the control."""
    found = {label: e for label, cell in cells.items() if (e := [e for run in cell if (e := entry(run, "curve"))])}
    if not found:
        return None
    tasks = max(len(each["task"]) for rows in found.values() for each in rows)
    figure, panels = _panels(found, tasks)
    for row, rows in zip(panels, found.values(), strict=True):
        for place, axes in enumerate(row):
            for key, colour, dashes in (("new", COLOURS[0], "-"), ("old", COLOURS[3], "--")):
                lines = [each[key][place] for each in rows if place < len(each[key])]
                if not lines or not any(value is not None for line in lines for value in line):
                    continue
                centre, spread = _over(lines)
                x = np.arange(len(centre))
                axes.plot(x, centre, color=colour, linestyle=dashes, marker=".", markersize=4, label=key)
                axes.fill_between(x, centre - spread, centre + spread, color=colour, alpha=0.15, linewidth=0)
            axes.set_ylim(-0.02, 1.02)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    _titles(panels, found, "mini-batches", "accuracy", first=" (control)")
    handles = {"the task being learned": "new", "tasks before": "old"}
    lines = {line.get_label(): line for axes in panels.flat for line in axes.lines}
    legend(
        figure, {what: lines[key] for what, key in handles.items() if key in lines}, loc="outside lower center", ncols=2
    )
    return figure


def updates(cells):
    """The size of every step relative to the layer's parameters, layer by layer and task by task, mean over runs."""
    found = {}
    for label, cell in cells.items():
        rows = [(entry(run, "updates"), found_arrays) for run in cell if (found_arrays := arrays(run, "updates"))]
        if rows:
            found[label] = rows
    if not found:
        return None
    tasks = max(len(e["task"]) for rows in found.values() for e, _ in rows)
    figure, panels = _panels(found, tasks)
    layers = {label: _numbered(rows[0][0]["kinds"]) for label, rows in found.items()}
    places = {layer: i for i, layer in enumerate(dict.fromkeys(layer for own in layers.values() for layer in own))}
    drawn = {}
    for row, (label, rows) in zip(panels, found.items(), strict=True):
        for place, axes in enumerate(row):
            each = [a["size"][a["task"] == e["task"][place]] for e, a in rows if place < len(e["task"])]
            if not each:
                continue
            mean = np.mean([sizes[: min(map(len, each))] for sizes in each], 0)
            for i, layer in enumerate(layers[label]):
                x, y = _thinned(mean[:, i])
                look = places[layer] % 8
                (drawn[layer],) = axes.plot(x, y, color=COLOURS[look], linestyle=DASHES[look], linewidth=1)
            axes.set(xscale="log", yscale="log")
            axes.xaxis.set_major_formatter(_plainly)
            axes.yaxis.set_major_formatter(_plainly)
    _titles(panels, found, "mini-batch (log scale)", "relative update")
    legend(
        figure, drawn, loc="outside lower center", ncols=min(5, len(drawn)), title="|step| / |parameters| of the layer"
    )
    return figure


def confidence(cells):
    """Matrices of mean predicted probabilities, true class by output, after each task, means over runs."""
    found = {}
    for label, cell in cells.items():
        matrices = [a["probabilities"] for run in cell if "probabilities" in (a := arrays(run, "confidence"))]
        if matrices:
            found[label] = np.mean([m for m in matrices if m.shape == matrices[0].shape], 0)
    if not found:
        return None
    tasks = max(map(len, found.values()))
    figure, panels = _panels(found, tasks, square=True)
    for row, matrices in zip(panels, found.values(), strict=True):
        for axes in row[len(matrices) :]:
            axes.axis("off")
        for axes, matrix in zip(row, matrices, strict=False):
            axes.set_facecolor("0.85")
            image = axes.imshow(matrix, vmin=0, vmax=1, cmap="cividis")
            step = max(1, math.ceil(len(matrix) / 10))
            axes.set_xticks(range(0, len(matrix), step))
            axes.set_yticks(range(0, len(matrix), step))
            axes.tick_params(labelsize=6)
            axes.spines[:].set_visible(False)
    _titles(panels, found, "predicted class", "true class", "after task")
    figure.colorbar(image, ax=panels, shrink=0.8, pad=0.01, label="mean probability (grey: class not seen yet)")
    return figure


def latents(cells, projection="pca"):
    """The activations of each hidden layer in two dimensions, before the first task and after each, of one run a cell."""
    found = {label: a for label, cell in cells.items() if "y" in (a := arrays(cell[0], "latents"))}
    if not found:
        return None
    rows = [(label, name) for label, a in found.items() for name in sorted(a) if name.startswith("layer")]
    columns = max(len(a["layer1"]) for a in found.values())
    figure, panels = _panels(rows, columns, (1.9 * columns + 1, 1.95 * len(rows) + 0.7))
    drawn = {}
    for row, (label, name) in zip(panels, rows, strict=True):
        a, order = found[label], entry(cells[label][0], "latents")["task"]
        classes = np.unique(a["y"])
        for place, axes in enumerate(row[: len(a[name])]):
            points = projected(a[name][place], projection)
            seen = np.isin(a["of_task"], order[:place])
            axes.scatter(*points[~seen].T, s=3, color="0.85", linewidths=0)
            for i, c in enumerate(classes):
                of_class = seen & (a["y"] == c)
                drawn[f"class {c}"] = axes.scatter(*points[of_class].T, s=7, color=_class_colour(i), linewidths=0)
            axes.set_xticks([])
            axes.set_yticks([])
            before = f"before task {place + 1}" if place < len(order) else ""
            after = f"after task {place}" if place else ""
            axes.set_title("\n".join(filter(None, (after, before))), fontsize=7)
        for axes in row[len(a[name]) :]:
            axes.axis("off")
        row[0].set_ylabel(f"{label}\nhidden layer {name.removeprefix('layer')}", fontsize=7)
    what = {"pca": "principal components (activation units)", "tsne": "t-SNE of the activations (no unit)"}[projection]
    figure.supxlabel(f"{what}; grey: classes not seen yet", fontsize=8)
    legend(figure, drawn, loc="outside right center", markerscale=2.5, fontsize=7)
    return figure


def projected(x, how):
    """x (N, units) in two dimensions: by principal components, or by t-SNE started from them."""
    x = np.asarray(x, dtype=np.float64)
    centred_x = x - x.mean(0)
    _, _, axes = np.linalg.svd(centred_x, full_matrices=False)
    points = centred_x @ axes[:2].T
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    if how == "tsne":
        from sklearn.manifold import TSNE

        start = 1e-4 * points / max(points[:, 0].std(), 1e-30)
        points = TSNE(init=start, perplexity=min(30, (len(x) - 1) / 3), random_state=0).fit_transform(x)
    return points


def drift(cells):
    """The mean cosine of the gradients then and now of each task's stored directions, over training, of one run a cell."""
    found = {label: e for label, cell in cells.items() if (e := entry(cell[0], "drift")) and e["task"]}
    if not found:
        return None
    figure = Figure(figsize=(0.9 + 3.4 * len(found), 3.4), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    drawn = {}
    for axes, (label, e) in zip(panels, found.items(), strict=True):
        for i, task in enumerate(e["task"]):
            places = [k for k, row in enumerate(e["mean"]) if i < len(row)]
            x = [e["step"][k] for k in places]
            for key, dashes in (("mean", "-"), ("least", ":")):
                y = _floats([e[key][k][i] for k in places])
                (line,) = axes.plot(
                    x, y, color=COLOURS[i % 8], linestyle=dashes, linewidth=1.3, marker=".", markersize=3
                )
                drawn[f"task {task + 1}, {key}"] = line
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set(title=label, xlabel="steps")
    panels[0].set_ylabel("cosine with the stored gradient")
    legend(figure, drawn, loc="outside right center", fontsize=8, title="stored after")
    return figure


def alignment(cells):
    """Cosines of the batch's gradient and of its correction with each past task's, and the share of violated constraints."""
    found = {label: e for label, cell in cells.items() if (e := entry(cell[0], "alignment")) and e["step"]}
    if not found:
        return None
    figure = Figure(figsize=(10, 2.3 * len(found) + 0.5), layout="constrained")
    panels, drawn = figure.subplots(len(found), 3, squeeze=False), {}
    for row, (label, e) in zip(panels, found.items(), strict=True):
        tasks = max(max(past) for past in e["past"]) + 1
        step = np.array(e["step"])
        edges = np.append(step, step[-1] + max(1, np.median(np.diff(step)) if len(step) > 1 else 1))
        for axes, key in zip(row, ("before", "after"), strict=False):
            table = np.full((tasks, len(step)), np.nan)
            for k, (past, values) in enumerate(zip(e["past"], e[key], strict=True)):
                table[past, k] = _floats(values)
            axes.set_facecolor("0.9")
            image = axes.pcolormesh(
                edges, np.arange(tasks + 1) + 0.5, table, vmin=-1, vmax=1, cmap="PuOr", rasterized=True
            )
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.invert_yaxis()
        for (key, what), colour, dashes in zip(
            (("before", "batch"), ("after", "corrected"), ("of_step", "step")), COLOURS, DASHES, strict=False
        ):
            share = [np.mean(np.array(_floats(values)) < -ROUNDING) for values in e[key]]
            line = row[2].plot(step, _running(share), color=colour, linestyle=dashes, linewidth=1.2)
            drawn[what] = line[0]
        row[2].set_ylim(-0.02, 1.02)
        row[0].set_ylabel(f"{label}\npast task", fontsize=8)
        row[2].set_ylabel("share", fontsize=8)
    for axes, title in zip(
        panels[0],
        (
            "gradient of the batch",
            "corrected gradient",
            f"share of violated constraints,\nmean of {WINDOW} evaluations",
        ),
        strict=True,
    ):
        axes.set_title(title, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("steps")
    figure.colorbar(image, ax=panels[:, :2], shrink=0.9, pad=0.01, label="cosine with the past task's gradient")
    figure.get_layout_engine().set(wspace=0.05)
    legend(figure, drawn, loc="outside lower center", ncols=3)
    return figure


def threshold(cells):
    """Accuracy over all tasks at the end against the stopping threshold, of cells label -> {threshold: list of Run}."""
    found = {}
    for label, runs in cells.items():
        known = {
            t: [r["seen"][-1] for run in group if (r := run.record or {}).get("seen")] for t, group in runs.items()
        }
        found[label] = {t: values for t, values in known.items() if values and isinstance(t, (int, float))}
    places = sorted({t for sizes in found.values() for t in sizes})
    if len(places) < 2:
        return None
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes, style, drawn = figure.subplots(), looks(found), {}
    for label, values in found.items():
        if values:
            known = sorted(values)
            means, spreads = zip(*(centred(values[t]) for t in known), strict=True)
            colour, _, marker, dashes = style[label]
            drawn[label] = axes.errorbar(known, means, yerr=spreads, color=colour, marker=marker, linestyle=dashes, capsize=3,
                                         markeredgecolor="black", markeredgewidth=0.5)  # fmt: skip
    axes.set_xticks(places, [f"{t:g}" for t in places])
    axes.set(xlabel="training accuracy at which a task ends", ylabel="accuracy over all tasks at the end",
             title="stopping threshold")  # fmt: skip
    legend(axes, drawn, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _panels(rows, columns, size=None, square=False):
    """A figure of a ``size`` with a panel for each of the rows (cells, say) and columns (tasks). RecordError if they are many."""
    if len(rows) * columns > PANELS:
        raise RecordError(
            f"{len(rows)} x {columns} panels are more than the {PANELS} of a figure; give fewer runs, or another --only"
        )
    shared = {} if square or size else {"sharex": "all", "sharey": "all"}
    size = size or (1.75 * columns + 1.6, (1.75 if square else 1.9) * len(rows) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(len(rows), columns, squeeze=False, **shared)


def _titles(panels, found, xlabel, ylabel, word="task", first=""):
    """The tasks above the first row of panels, each row's cell beside it, and what the axes mean."""
    for place, axes in enumerate(panels[0]):
        axes.set_title(f"{word} {place + 1}{'' if place else first}", fontsize=9)
    for row, label in zip(panels, found, strict=True):
        row[0].set_ylabel(f"{label}\n{ylabel}", fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel(xlabel, fontsize=8)


def _plainly(value, _=None):
    """A tick of a log scale: 0.01 and not a power."""
    return f"{value:g}"


def _floats(values):
    return [math.nan if v is None else float(v) for v in values]


def _over(rows):
    """Mean and standard deviation (n,) over runs of lists of numbers or None, as far as the shortest goes."""
    length = min(map(len, rows))
    both = [centred(column) for column in zip(*(_floats(row[:length]) for row in rows), strict=True)]
    return tuple(np.array(part) for part in zip(*both, strict=True))


def _numbered(kinds):
    """The layers' kinds, numbered within each kind: Linear 1, BatchNorm1d 1, Linear 2."""
    return [f"{kind} {kinds[: i + 1].count(kind)}" for i, kind in enumerate(kinds)]


def _thinned(y):
    """x from 1 and y, the later points as means over stretches whose ends have equal ratios."""
    ends = np.unique(np.geomspace(1, len(y), min(POINTS, len(y))).astype(int))
    starts = np.concatenate([[0], ends[:-1]])
    pairs = list(zip(starts, ends, strict=True))
    return np.array([(a + 1 + b) / 2 for a, b in pairs]), np.array([np.mean(y[a:b]) for a, b in pairs])


def _running(values):
    """Means over the last WINDOW values."""
    return [np.mean(values[max(0, i - WINDOW + 1) : i + 1]) for i in range(len(values))]


def _class_colour(i):
    """Ten colours that differ, for the classes of a task stream."""
    ten = (*COLOURS[:6], "#332288", COLOURS[7], "#000000", "#882255")  # grey is of the classes not seen yet
    return ten[i % len(ten)]
