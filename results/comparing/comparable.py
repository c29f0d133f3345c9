"""Whether the rows of a table may be compared with each other: they may if their runs saw the same stream.

`cells.gather` asks that the runs of one cell agree in protocol and settings. Here all cells must agree in the protocol,
but for the memory. If they do not, no difference is taken (`same_stream`), and a table or a picture says why
(`warnings`).
"""

from results import RecordError
from results.comparing import cells
from results.comparing.measures import concerned, deciding

MANY = 4  # the most rows that are named for one value


def stream(besides=(), metrics=()):
    """The fields of the protocol, and those that decide `metrics`, that comparable rows share, without `besides`."""
    free = {"memory", *cells.covered(besides)}
    return [name for name in (*cells.PROTOCOL, *deciding(metrics)) if name not in free]


def same_stream(gathered, key, base, besides, metrics=()):
    """RecordError if two cells were not measured on the same stream, fields in `besides` apart. It names all fields."""
    both = [*gathered[key].values(), *gathered[base].values()]
    differ = {name: values for name in stream(besides, metrics) if len(values := _values(both, name)) > 1}
    if differ:
        told = [f"{_called(name)}: {', '.join(_each(values))}" for name, values in differ.items()]
        raise RecordError(
            f"{cells.label(key)} and {cells.label(base)} differ in {'; '.join(told)}; "
            f"no difference is taken (--allow {','.join(map(_called, differ))} takes it all the same)"
        )


def _each(values):
    return _texts([{value: text} for value, text in values.items()])


def warnings(gathered, by, names=None, metrics=()):
    """A sentence for each field of the stream in which cells differ: its values, and the rows that have them.

    gathered: as cells.gather() returns it. names: key -> the row's name. by: the fields of a key that the reader sees.
    Where such a field belongs to the stream itself, as the data file does, only rows that share its value are compared.
    """
    names = names or cells.labels(gathered)
    shown = [i for i, name in enumerate(by) if name in (*stream(), "data_file")]
    groups, said = {}, []
    for key, cell in gathered.items():
        groups.setdefault(tuple(key[i] for i in shown), {})[key] = list(cell.values())
    for group in groups.values():
        for name in stream(by, metrics):
            rows = {}  # the values that a row's runs have -> (the same with their texts, names of the rows)
            for key, runs in group.items():
                if values := _values(runs, name):
                    rows.setdefault(frozenset(values), (values, []))[1].append(names[key])
            if len(rows) > 1:
                said.append(f"not comparable: {_spoken(name, *zip(*rows.values(), strict=True))}")
    return list(dict.fromkeys(said))


def _values(runs, name):
    """The distinct values of a field among runs: value -> text. For data the value is the hash, the text the file."""
    found = {}
    for run in concerned(runs, name):
        value = _text(cells.field(run, name))
        found.setdefault(value, _text(run.fact("data_file")) if name == "data_hash" else value)
    return found


def _text(value):
    """A field's value as text. A list with one value for all tasks becomes that value, so that T does not matter."""
    same = isinstance(value, list) and value and value.count(value[0]) == len(value)
    return f"{value[0]} a task" if same else cells.short(value)


def _called(name):
    return "data_file" if name == "data_hash" else name


def _texts(rows):
    """A text for each of `rows` {value: text}. Where two rows have the same text, the values (hashes) are added."""
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
    """A sentence if some of the runs `found` are in no cell because a later run has the same seed; else []."""
    n = len(found) - sum(map(len, gathered.values()))
    return [f"left out: {n} run{'s' * (n > 1)} whose seed was begun again with the same settings"] if n else []
