"""Fixtures of results/logged/: logs of others, kept digit by digit, and what is known about their runs."""

import json
import os
from pathlib import Path

from results import RecordError
from results.reading import bounds, fields
from results.reading.run import Run
from results.reading.text import parse_file, parse_text


def parse_logged(content, path):
    """Yield the runs of a fixture as Run. content: the fixture's JSON; path: the fixture's file.

    {"logged": what, "args": {..}, "protocol": {..}, "versions": {..}, "runs": [{"label", "args": the run's own,
    "text": [a log's lines], or "file": a log beside this one}]}. protocol and versions are as in a record, as far as
    they are known. A fixture of "tables" needs no runs.
    """
    entries, problems = content.get("runs"), []
    if not (isinstance(entries, list) and entries):
        if "tables" not in content:
            yield Run(str(path), problems=[f"{path}: no list of 'runs' in it"])
        return
    known = {}
    for key in ("args", "protocol", "versions"):
        known[key] = fields.inside(key, content.get(key), f"{path}: ", problems)
    args = known.pop("args") or {}
    known = {key: found for key, found in known.items() if found is not None}
    if problems:
        yield Run(str(path), problems=problems)
    lines = _Lines(path)
    for i, entry in enumerate(entries, start=1):
        where, own = f"{path}: run {i}", []
        try:
            found = _runs(entry, path, lines)
        except (TypeError, KeyError, IndexError, ValueError):
            yield Run(str(path), problems=[f"{where} has no lines of text"])
            continue
        except RecordError as e:
            yield Run(str(path), problems=[f"{where}: {e}"])
            continue
        given = fields.inside("args", entry.get("args"), f"{where}: ", own) or {}
        label = entry.get("label", os.path.basename(os.path.splitext(path)[0]))
        if not fields.NAME.fits(label):
            own.append(f"{where}: 'label' is {fields.told(label)}, not {fields.NAME.name}")
            label = ""
        if not found:
            yield Run(str(path), problems=[*own, f"{where}: no grid, no one-line result in it"])
        for run in found:
            run.label, run.args, run.record = label, {**args, **given}, dict(known) or None
            run.problems += own
            run.slips += [text for text in entry.get("slips", []) if fields.TEXT.fits(text)]
            yield run


def _runs(entry, path, lines):
    """The runs of an entry's lines, or of the file that it names."""
    if "file" not in entry:
        text = entry["text"]
        return parse_text("\n".join(text), str(path), lines.of(text[0]))
    source = Path(path).with_name(os.path.basename(entry["file"]))
    if not source.is_file():  # a pipe would block
        raise RecordError(f"{source} cannot be read (there is no such file)")
    try:
        return parse_file(source)
    except OSError as e:
        raise RecordError(f"{source} cannot be read ({e.strerror or e})") from None


class _Lines:
    """Finds the line of a fixture's file that a text stands in. Texts are looked for in the order of the file."""

    def __init__(self, path):
        self.content = bounds.contents(path, bounds.JSON).decode("utf-8", errors="replace")
        self.at, self.number = 0, 1

    def of(self, text):
        at = self.content.find(json.dumps(text), self.at)
        if at < 0:  # written in another way: from here on lines are not known, and not looked for again and again
            self.content = ""
            return self.number
        self.number += self.content.count("\n", self.at, at)
        self.at = at + 1
        return self.number
