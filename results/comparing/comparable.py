"""Whether the rows of a table may be held against each other: they may if their runs saw the same stream.

The memory may differ. What `cells.gather` asks of the runs of one cell, settings besides, is asked here of all cells:
a difference is not taken (`same_stream`), and a table or a picture says so (`warnings`).
"""

from results import RecordError
from results.comparing import cells

MANY = 4  # rows that are named for one value


def stream(besides=()):
    """The fields of the protocol that comparable rows share, but for those in `besides`."""
    free = {"memory", *besides}
    if free & {"data_hash", "data_file"}:
        free |= {"data_hash"}
    return [name for name in cells.PROTOCOL if name not in free]


def same_stream(gathered, key, base, besides):
    """RecordError if two cells were not measured on the same stream, fields in `besides` apart."""
    both = [*gathered[key].values(), *gathered[base].values()]
    for name, values in cells.differing(both, stream(besides)).items():
        raise RecordError(
            f"{cells.label(key)} and {cells.label(base)} differ in {name}: {', '.join(map(cells.short, values))}; "
            f"no difference is taken (--allow {name} takes it all the same)"
        )


def warnings(gathered, by, names=None):
    """A sentence for each field of the stream in which cells differ: its values, and the rows that have them.

    gathered: as cells.gather() gives it, `by` its fields; names: key -> what the row is called. Rows that a field of `by`
    tells apart, the data file say, are compared with those only that have the same value of it, which the table shows.
    """
    names = names or cells.labels(gathered)
    shown = [i for i, name in enumerate(by) if name in (*stream(), "data_file")]
    groups, said = {}, []
    for key, cell in gathered.items():
        groups.setdefault(tuple(key[i] for i in shown), {})[key] = list(cell.values())
    for group in groups.values():
        for name in stream(by):
            rows = {}  # the values that a row's runs have -> rows
            for key, runs in group.items():
                rows.setdefault(_values(runs, name), []).append(names[key])
            if len(rows) > 1:
                said.append(f"not comparable: rows differ in {_spoken(name, rows)}")
    return list(dict.fromkeys(said))


def _values(runs, name):
    """The distinct values of a field among the runs of a row, as texts; of the data (hash, file) pairs of texts."""
    fields = ("data_hash", "data_file") if name == "data_hash" else (name,)
    return tuple(dict.fromkeys(tuple(cells.short(cells.field(run, field)) for field in fields) for run in runs))


def _spoken(name, rows):
    """'batch_size: 1 (gem), 10 (single)'; data by the file's name, and by the hash besides where names do not tell."""
    texts = [" and ".join(value[-1] for value in values) for values in rows]
    if len(set(texts)) < len(rows):
        texts = [" and ".join(f"{file} {data}" for data, file in values) for values in rows]
    parts = ", ".join(f"{text} ({_few(where)})" for text, where in zip(texts, rows.values(), strict=True))
    return f"{'data_file' if name == 'data_hash' else name}: {parts}"


def _few(names):
    rest = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + rest


def repeated(found, gathered):
    """A sentence if some of the runs (list) stand in no cell, since their seed was begun once more; else []."""
    n = len(found) - sum(map(len, gathered.values()))
    return [f"left out: {n} run{'s' * (n > 1)} whose seed was begun again with the same settings"] if n else []
