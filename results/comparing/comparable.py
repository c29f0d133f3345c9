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
    for name in stream(besides):
        values = _values(both, name)
        if len(values) > 1:
            texts = _texts([{value: text} for value, text in values.items()])
            raise RecordError(
                f"{cells.label(key)} and {cells.label(base)} differ in {_called(name)}: {', '.join(texts)}; "
                f"no difference is taken (--allow {name} takes it all the same)"
            )


def warnings(gathered, by, names=None):
    """A sentence for each field of the stream in which cells differ: its values, and the rows that have them.

    gathered: as cells.gather() gives it; names: key -> what the row is called; by: its fields, as far as the reader sees
    them. Rows that a field of `by` tells apart, the data file say, are compared with those only that share its value.
    """
    names = names or cells.labels(gathered)
    shown = [i for i, name in enumerate(by) if name in (*stream(), "data_file")]
    groups, said = {}, []
    for key, cell in gathered.items():
        groups.setdefault(tuple(key[i] for i in shown), {})[key] = list(cell.values())
    for group in groups.values():
        for name in stream(by):
            rows = {}  # the values that a row's runs have -> (the same with their texts, names of the rows)
            for key, runs in group.items():
                values = _values(runs, name)
                rows.setdefault(frozenset(values), (values, []))[1].append(names[key])
            if len(rows) > 1:
                said.append(f"not comparable: {_spoken(name, *zip(*rows.values(), strict=True))}")
    return list(dict.fromkeys(said))


def _values(runs, name):
    """The distinct values of a field among runs: value -> text. Data are told by their hash, and called by their file."""
    found = {}
    for run in runs:
        value = _text(cells.field(run, name))
        found.setdefault(value, _text(run.fact("data_file")) if name == "data_hash" else value)
    return found


def _text(value):
    """A field's value; of a list that has the same for every task, which is no other for more tasks, that."""
    same = isinstance(value, list) and value and value.count(value[0]) == len(value)
    return f"{value[0]} a task" if same else cells.short(value)


def _called(name):
    return "data_file" if name == "data_hash" else name


def _texts(rows):
    """What rows have in a field, of each {value: text}; of data the hash besides, where file names do not tell."""
    texts = [" and ".join(values.values()) for values in rows]
    if len(set(texts)) < len(texts):
        texts = [" and ".join(f"{text} {value}" for value, text in values.items()) for values in rows]
    return texts


def _spoken(name, rows, names):
    """'batch_size differs: 1 (gem), 10 (single)'."""
    return f"{_called(name)} differs: " + ", ".join(
        f"{t} ({_few(n)})" for t, n in zip(_texts(rows), names, strict=True)
    )


def _few(names):
    names = list(dict.fromkeys(names))
    rest = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + rest


def repeated(found, gathered):
    """A sentence if some of the runs (list) stand in no cell, since their seed was begun once more; else []."""
    n = len(found) - sum(map(len, gathered.values()))
    return [f"left out: {n} run{'s' * (n > 1)} whose seed was begun again with the same settings"] if n else []
