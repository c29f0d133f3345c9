"""docs/which_agem.md from the records of scripts/compare_agem.sh: the algebra in words, the numbers from results.compare.

python scripts/studies/which_agem.py PATH... --output FILE
"""

import argparse
import functools
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from data import temporary
from results import RecordError, console
from results.compare import compare
from results.comparing import cells, inference
from results.comparing.deviations import METRICS
from results.comparing.matching import counterparts, differing, grouped
from results.comparing.measures import MEASURES, shown, with_interval
from results.comparing.tables import tables
from results.table import render
from scripts.benching.machine import processor

LOGGED = ROOT / "results" / "logged" / "seed_004.json"
BY = ("model", "memory_strength", "agem_batch")
TRIGGERS = {"mean": "the mean is violated", "any": "any task is violated"}
SHOWN = (*METRICS, "violations", "qp_solves")

TEXT = """# Which way of A-GEM is correct?

*Made by `scripts/compare_agem.sh` from its records; not to be edited by hand.*

## The answer

The A-GEM note implements A-GEM in three ways, logs one run of each, and asks which is right.

- **`agem_sampled` is A-GEM as published** (Chaudhry et al. 2019). It takes a fresh random batch of all past memories, the
  closed form, and no margin. Report this one as "A-GEM". It is none of the note's ways.
- **`agem_closed`, the note's way (2), is the same rule without the sampling noise.** It takes the whole memory, in which
  every task weighs the same. With memories as small as here (`--n_memories 10`, so at most 90 examples, and
  `--agem_batch 256`) the two use the same examples. It has no margin to tune. Use it where the whole memory is affordable.
- `agem_meanqp`, way (3), is way (2) plus a replay term of weight `--memory_strength`. It is correct as such, but then it is
  replay and should be called so. With margin 0 it *is* way (2).
- `agem`, way (1), **is not comparable between streams of different length.** Its margin acts t times as strongly at task
  t + 1. {verdict}

## The algebra, in ten lines

1. g is the gradient of the current batch, g_1 .. g_t are those of the past tasks' memories, and r is one reference gradient.
2. With r as its only row, GEM's QP is: minimise v^2 <r,r> / 2 + v <g,r> subject to v >= margin. The step is x = g + v r.
3. This is a parabola, so v = max(margin, -<g,r> / <r,r>), and no solver is needed. It is used only if <g,r> < 0.
4. With margin 0: x = g - (<g,r> / <r,r>) r. That is A-GEM's closed form, way (2).
5. This x does not change if r is multiplied by a number. So with margin 0 the sum (1) and the mean (2), (3) coincide.
6. A margin is replay: the bound v >= margin is the same as replacing g by g + margin * r, then projecting with margin 0.
7. Way (1) has r = sum of g_s, so it replays margin * sum of g_s. Way (3) has r = mean of g_s: margin * sum of g_s / t.
8. So (1) is t times as strong as (3). At the second task, t = 1, they are the same: the logged rows agree to all digits.
9. At margin 10 and t = 9, (1) adds 90 mean memory gradients to a step. At learning rate 0.01 that is a step of 0.9.
10. A single row protects the mean, not each task. Only `gem` has one constraint a task, and pays for it with the QP.

With margin 0, (3) does the same arithmetic as (2). In (1) r is t times as long and rounds differently. In time that decides
whether a step is a violation, so its runs agree with the others' in distribution, not digit by digit.

## Measured

{protocol}

{table}

`-`: the method does not use the flag. Violations are steps with a correction. QPs are the programs handed to a solver.

## The logged runs beside ours

One run of each way was logged; ours are n seeds of the same command. *Inside*: the logged number lies in the 95 %
prediction interval of one more run of ours. The logged numbers are computed from the logged grids. Where the note's own
printed numbers differ from its grids, `results/logged/README.md` says so.

{logged}

{caution}

## Two readings of the note's trigger

The note replaces GEM's projection and leaves "the way to get the loss and gradient of previous tasks" as in GEM. So GEM's
trigger may have stayed: the projection is called as soon as the loss of *any* past task would rise, and not where
<g, r> < 0. In way (2) the closed form then also takes away an agreement with r which the step had; in way (3) the margin is
added more often. `--agem_trigger any` is this reading.

After the second task there is one past task, and both readings are the same: that row is the control. Compared is the mean
accuracy on the tasks learned so far, after the second and the fifth task, and the three summary numbers. p is the
probability of a further run of ours as far from the mean as the logged one (Student's t, sd sqrt(1 + 1/n)).

{readings}

{excluded}

{gained}
"""


def document(found):
    """The text of the document from a list of Run; RecordError if they cannot be averaged, or one has no record."""
    for run in found:
        if not (run.record or {}).get("versions") or not run.fact("data_hash"):
            raise RecordError(f"{run.place}: is not a whole record of a run; leave it out")
    baseline = "agem_closed" if any(cells.method(run) == "agem_closed" for run in found) else None
    logged, _ = cells.read([str(LOGGED)], "which_agem")
    plainly = [run for run in found if _trigger(run) == "mean"]
    rows = compare(plainly, BY, SHOWN, baseline=baseline)
    return TEXT.format(
        verdict=_verdict(rows),
        protocol=_protocol(found) + _incomplete(rows),
        table=tables(rows, SHOWN, baseline, "markdown", inference.CONFIDENCE),
        logged=_logged(plainly, logged),
        caution=_caution(found),
        **_readings(found, logged),
    )


def _row(rows, model, margin):
    return next((r for r in rows if r["by"]["model"] == model and r["by"]["memory_strength"] == margin), None)


def _verdict(rows):
    """A verdict on way (1) with the logged margin, in words; nothing if its runs are missing."""
    row = _row(rows, "agem", 10)
    pair = row and (row.get("paired") or {}).get("final")
    if not pair or pair["low"] is None:
        return ""
    finals = row["measures"]["final"]
    return (
        f"With the logged margin of 10 its final accuracy is {shown(finals['mean'], 3)} ± {shown(finals['sd'], 3)} "
        f"(n {finals['n']}), a mean difference to way (2) of "
        f"{with_interval(pair['mean'], pair['low'], pair['high'], 3)}. Do not use it."
    )


def _protocol(found):
    run = found[0]
    versions = run.record["versions"]
    seeds = sorted({run.fact("seed") for run in found}, key=lambda seed: (len(str(seed)), str(seed)))
    samples = {cells.short(run.fact("samples_per_task")) for run in found}
    return (
        f"{run.fact('data_file')} (sha256 {run.fact('data_hash')[:12]}), {run.n_tasks} tasks, samples {', '.join(samples)}, "
        f"batch {run.fact('batch_size')}, lr {run.fact('lr')}, {run.fact('n_memories')} memories a task; seeds "
        f"{', '.join(map(str, seeds))}; mean ± standard deviation over n seeds. {os.cpu_count()}-core {processor()}, "
        f"torch {versions.get('torch')}, {versions.get('cpu_capability')} kernels; code {str(run.fact('git'))[:12]}. BWT and FWT "
        "are divided by T, as the reference prints them."
    )


def _incomplete(rows):
    """A sentence if not all rows have the same number of seeds."""
    counts = {row["n"] + row["diverged"] for row in rows}
    return "" if len(counts) == 1 else " **Not all runs have been made yet: n differs from row to row.**"


def _logged(found, logged):
    body, otherwise, groups = [], {}, grouped(found)
    for run in logged:
        ours = [other for other in counterparts(run, groups) if other.fact("status") != "diverged"]
        otherwise |= differing(run, ours[0]) if ours else {}
        for key in METRICS:
            value, values = (
                MEASURES[key].value(run),
                [v for other in ours if (v := MEASURES[key].value(other)) is not None],
            )
            line = [f"{run.label.split()[0]} `{cells.method(run)}`", MEASURES[key].label, shown(value, 4)]
            if len(values) < 2:
                body.append([*line, "X", "X", "X"])
                continue
            low, high = inference.prediction(values)
            spread = f"{shown(inference.mean(values), 4)} ± {shown(inference.deviation(values), 4)} (n {len(values)})"
            inside = "inside" if low <= value <= high else "**outside**"
            body.append([*line, spread, f"[{shown(low, 4)}, {shown(high, 4)}]", inside])
    said = ", ".join(f"{name} {cells.short(a)} logged, {cells.short(b)} here" for name, (a, b) in otherwise.items())
    note = f"\n\n**Not the logged command: {said}.**" if said else ""
    return render(["way", "number", "logged", "ours", "95 % prediction interval", "logged is"], body, "markdown") + note


def _trigger(run):
    return run.fact("agem_trigger") or "mean"


def _learned(run, row):
    """The mean accuracy on the tasks learned so far, after the task number ``row``."""
    return inference.mean(run.grid[row - 1][:row])


def _readings(found, logged):
    """The table of the two readings of ways (2) and (3), and a sentence on which the logged runs exclude."""
    body, least = [], {}
    for run in logged:
        model = cells.method(run)
        if model not in ("agem_closed", "agem_meanqp"):
            continue
        rows = {f"after task {i}": functools.partial(_learned, row=i) for i in (2, 5)}
        numbers = {**rows, **{MEASURES[key].label: MEASURES[key].value for key in METRICS}}
        for trigger in TRIGGERS:
            ours = [r for r in found if cells.method(r) == model and _trigger(r) == trigger
                    and r.fact("memory_strength") == 10 and r.n_tasks == run.n_tasks]  # fmt: skip
            for number, value in numbers.items():
                values = [value(other) for other in ours if other.fact("status") != "diverged"]
                line = [f"{run.label.split()[0]} `{model}`", TRIGGERS[trigger], number, shown(value(run), 4)]
                if len(values) < 2:
                    body.append([*line, "X", "X"])
                    continue
                p = inference.surprise(value(run), values)
                if number != "after task 2":
                    least.setdefault((run.label.split()[0], trigger), []).append((p, number))
                spread = (
                    f"{shown(inference.mean(values), 4)} ± {shown(inference.deviation(values), 4)} (n {len(values)})"
                )
                body.append([*line, spread, shown(p, 3)])
    table = render(["way", "corrected where", "number", "logged", "ours", "p"], body, "markdown")
    return {"readings": table, "excluded": _excluded(least), "gained": _gained(found)}


def _gained(found):
    """What the other reading does to the final accuracy, over common seeds, where both were run."""
    said = []
    for model, margin in (("agem_closed", 10), ("agem_meanqp", 0), ("agem_meanqp", 10)):
        runs = [r for r in found if cells.method(r) == model and r.fact("memory_strength") == margin]
        finals = {t: {r.fact("seed"): MEASURES["final"].value(r) for r in runs if _trigger(r) == t} for t in TRIGGERS}
        pair = inference.difference(finals["any"], finals["mean"])
        if pair and pair.low is not None:
            at = "" if model == "agem_closed" else f" at margin {margin}"
            said.append(f"{with_interval(pair.mean, pair.low, pair.high, 3)} of `{model}`{at}")
    return f"`--agem_trigger any` changes the final accuracy over common seeds by {'; '.join(said)}." if said else ""


def _excluded(least):
    """The verdict: a reading is excluded if a number stays unlikely when all of its numbers are counted (Holm)."""
    said = []
    for (way, trigger), tests in least.items():
        p, number = min(tests)
        adjusted = min(inference.holm([each for each, _ in tests]))
        verdict = "**is excluded**" if adjusted < 1 - inference.CONFIDENCE else "is not excluded"
        said.append(
            f"way {way} corrected where {TRIGGERS[trigger]} {verdict} (least likely: {number}, p {shown(p, 3)}; "
            f"{shown(adjusted, 3)} when all {len(tests)} numbers are counted)"
        )
    return f"By these runs, {'; '.join(said)}." if said else ""


def _caution(found):
    finals = {run.fact("seed"): MEASURES["final"].value(run) for run in found
              if cells.method(run) == "agem" and run.fact("memory_strength") == 10}  # fmt: skip
    each = ", ".join(f"{shown(value, 3)} (seed {seed})" for seed, value in sorted(finals.items(), key=str))
    return (
        f"Way (1) with margin 10 gave final accuracies of {each}. So a single run of it says little, and an interval this wide "
        "holds nearly anything. The permutations behind the logged runs are not known, so the digits cannot be compared."
    )


def main(argv=None):
    parser = argparse.ArgumentParser(prog="which_agem", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--output", required=True, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        found, unread = cells.read(args.paths, parser.prog)
        text = document(found)
        with console.writing(f"--output {args.output}"):
            temporary.make_folder(Path(args.output).parent)
            temporary.write(args.output, text.encode())
    except RecordError as mistake:
        print(f"which_agem: {mistake}", file=sys.stderr)
        return 2
    print(args.output)
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
