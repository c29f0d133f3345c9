"""The protocol of runs in words: the values that they share, and all values where they differ."""

from results.comparing import cells

SETTINGS = ("lr", "n_layers", "n_hiddens", "net", "memory_strength")  # named only where all runs share them


def terms(found):
    """[(term, text)] of a list of Run: the stream, the machine, shared settings and versions; unknown ones absent."""
    told = []
    for name in ("data_file", *cells.PROTOCOL, "engine", "device", "threads"):
        values = [value for value in cells.distinct(cells.field(run, name) for run in found) if value != cells.UNUSED]
        if all(isinstance(value, int | float) for value in values):
            values.sort()
        if values not in ([], [None], [""]):
            told.append((name.replace("_", " "), ", ".join(cells.short(value) or "none" for value in values)))
    settings = [cells.settings(run) for run in found]
    shared = {k: v for k, v in settings[0].items() if k in SETTINGS and all(s.get(k, v) == v for s in settings)}
    told += [("settings of all", ", ".join(f"{k} {cells.short(v)}" for k, v in shared.items()))] if shared else []
    versions = [(run.record or {}).get("versions") for run in found]
    each = {", ".join(f"{k} {v}" for k, v in known.items()) for known in versions if isinstance(known, dict)}
    return told + ([("versions", "; ".join(sorted(each)))] if each else [])


def sentence(found):
    """The terms and the seeds in one line, which belongs above a table."""
    seeds = sorted({str(run.fact("seed")) for run in found if run.fact("seed") is not None}, key=lambda s: (len(s), s))
    told = [f"{name} {text}" for name, text in terms(found)] + ([f"seeds {' '.join(seeds)}"] if seeds else [])
    return f"{'; '.join(told)}. Mean ± standard deviation (divisor n - 1) over n runs."
