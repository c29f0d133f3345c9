"""Cells named by their fields, as --baseline and --label do: 'single', 'engine=autograd', 'model=gem,lr=0.1'."""

from model import UsageError
from model.arguments import FLAGS
from results import RecordError
from results.comparing import cells


def parsed(text, by, flag):
    """'model=gem,lr=0.1' as dict field -> text; a word without '=' is a method. RecordError names the `flag`."""
    wanted = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        name, value = (name, value) if equals else ("model", name)
        if name not in by:
            what = "is a method" if name == "model" else f"names {name}"
            raise RecordError(f"--{flag} {text}: {what}, so --by must name {name}")
        wanted[name] = cells.resolved(value) if name == "model" else value
    if not wanted:
        raise RecordError(f"--{flag} {text!r}: names no cell; give a method or FIELD=VALUE,..")
    return wanted


def fits(key, by, wanted):
    """Whether a cell's key, values of the fields `by`, has the wanted values."""
    found = dict(zip(by, key, strict=True))
    return all(_same(found[name], name, text) for name, text in wanted.items())


def _same(value, name, text):
    if cells.short(value) == text:
        return True
    try:
        return name in FLAGS and FLAGS[name].parse(text) == value
    except UsageError:
        return False


def baseline(gathered, by, text):
    """For each cell's key, the key of its baseline; None where it has none.

    Baselines are the cells that fit 'text'. A cell gets the one whose key agrees with its own in most fields, and of
    its own method unless the text names a method. RecordError if no cell fits.
    """
    wanted = parsed(text, by, "baseline")
    serving = [key for key in gathered if fits(key, by, wanted)]
    if not serving:
        if set(wanted) == {"model"}:
            names = dict.fromkeys(str(_method(key, by)) for key in gathered)
            raise RecordError(f"--baseline {wanted['model']}: no run of it; the methods are {', '.join(names)}")
        raise RecordError(f"--baseline {text}: no run of it; the rows are {', '.join(map(cells.label, gathered))}")
    found, own = {}, "model" in by and "model" not in wanted
    values, alike = set(), {}  # of the wanted fields; baselines by the values of all others
    for key in serving:
        values.add(_values(key, by, wanted))
        alike[_values(key, by, set(by) - set(wanted))] = key
    for key in gathered:
        if len(values) == 1 and (same := _values(key, by, set(by) - set(wanted))) in alike:  # none can be nearer
            found[key] = alike[same]
            continue
        near = [other for other in serving if not own or _method(other, by) == _method(key, by)]
        found[key] = max(near, key=lambda other: sum(a == b for a, b in zip(other, key, strict=True)), default=None)
    return found


def _values(key, by, names):
    return tuple(value for value, name in zip(key, by, strict=True) if name in names)


def _method(key, by):
    return key[by.index("model")]


def named(gathered, by, labels):
    """key -> its name: the name of the first of `labels` [(text, name)] whose text fits it, else the cell's own label.

    The dict is in the order of the labels, then of the cells. RecordError if a label fits no cell.
    """
    wanted = [(parsed(text, by, "label"), text, name) for text, name in labels]
    own, found = cells.labels(gathered), {}
    for each, text, name in wanted:
        fitting = [key for key in gathered if fits(key, by, each)]
        if not fitting:
            raise RecordError(f"--label {text}: fits no row; the rows are {', '.join(own.values())}")
        for key in fitting:
            found.setdefault(key, name if len(fitting) == 1 else f"{name} ({own[key]})")
    return found | {key: label for key, label in own.items() if key not in found}
