"""Draw what probes measured: python -m results.probe PATH... [-o DIR] [--by model,norm] [--only curve,sparsity]

PATH: records of runs with --probe, or folders of them. Each figure is saved as PNG and PDF. curve: accuracy on old and new
tasks after each mini-batch. updates: relative size of the steps, layer by layer. confidence: mean predicted probabilities.
latents: hidden activations in two dimensions before and after each task. sparsity, epochs, drift, alignment: over training.
threshold: accuracy against --stop_at_accuracy. Exit status 0; 1 if a log could not be read (the rest is drawn); 2 if the
command is wrong, there is nothing to draw, or matplotlib is missing.
"""

import argparse
import os
import sys

if __package__ in (None, ""):  # cd results; python probe.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from results import RecordError, console
from results.comparing import cells
from results.plot_results import by_value, differences, labelled, save

FIGURES = ("curve", "updates", "confidence", "latents", "sparsity", "epochs", "drift", "alignment", "threshold")
ABSENT = {name: f"no run has what --probe {name} measures" for name in FIGURES}
ABSENT["threshold"] = "no runs with two values of --stop_at_accuracy and accuracies over all tasks seen"
STOP = "stop_at_accuracy"


def draw(found, by=("model",), allow=(), wanted=FIGURES, projection="pca"):
    """figure name -> matplotlib Figure, or None where the runs have nothing for it. found: list of Run."""
    try:
        from matplotlib import rc_context
    except ImportError:
        raise RecordError("figures need matplotlib: pip install -r requirements-results.txt") from None
    from results.drawing import figures, probes

    drawn = {}
    with rc_context(figures.STYLE):
        plain = labelled(cells.gather(found, by, allow)) if set(wanted) - {"threshold"} else {}
        for name in wanted:
            try:
                if name == "threshold":
                    stopped = [run for run in found if isinstance(cells.field(run, STOP), float | int)]
                    others = tuple(field for field in by if field != STOP)
                    drawn[name] = probes.threshold(by_value(stopped, STOP, others, allow))
                elif name == "latents":
                    drawn[name] = probes.latents(plain, projection)
                else:
                    drawn[name] = getattr(probes, name)(plain)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as e:
                raise RecordError(
                    f"{name}: a record's probes are not as a run leaves them ({type(e).__name__}: {e}); "
                    "leave that record out, or give --only"
                ) from None
            if drawn[name] is not None and name != "threshold":
                figures.warn(drawn[name], differences(found, by, allow, name))
    return drawn


def main(argv=None):
    parser = argparse.ArgumentParser(prog="results.probe", description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="+", metavar="PATH", help="records of runs with --probe, or folders of them")
    parser.add_argument("-o", "--output", default="figures", metavar="DIR", help="of the figures (default: figures)")
    parser.add_argument("--by", default="model", metavar="FIELD,..", help="what tells cells apart (default: model)")
    parser.add_argument("--allow", default="", metavar="FIELD,..", help="average although this field differs")
    parser.add_argument("--only", default=",".join(FIGURES), metavar="FIGURE,..", help=f"of {', '.join(FIGURES)}")
    parser.add_argument("--projection", choices=("pca", "tsne"), default="pca", help="of latents (default: pca)")
    args = parser.parse_args(argv)
    return console.command(parser.prog, lambda: _draw(args, parser.prog))


def _draw(args, program):
    by, allow, wanted = map(console.names, (args.by, args.allow, args.only))
    if not wanted or set(wanted) - set(FIGURES):
        raise RecordError(f"--only {args.only}: the figures are {', '.join(FIGURES)}")
    found, unread = cells.read(args.paths, program)
    drawn = draw(found, by or ("model",), allow, wanted, args.projection)
    if not any(drawn.values()):
        raise RecordError(f"nothing to draw: {'; '.join(f'{name}: {ABSENT[name]}' for name in wanted)}")
    for path in save(drawn, args.output):
        print(path)
    for name in (name for name, figure in drawn.items() if figure is None):
        console.tell(program, f"{name}: not drawn, {ABSENT[name]}")
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
