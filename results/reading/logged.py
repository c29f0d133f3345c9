"""Fixtures of results/logged/: logs of others, kept digit by digit, and what is known about their runs."""

import json
import os
from pathlib import Path

from results.reading.run import Run
from results.reading.text import parse_text


def parse_logged(content, path):
    """The runs of a fixture as a list of Run. content: the fixture's JSON; path: the fixture's file.

    {"logged": what, "args": {..}, "protocol": {..}, "versions": {..}, "runs": [{"label", "args": the run's own,
    "text": [a log's lines], or "file": a log beside this one}]}. protocol and versions are as in a record, as far as
    they are known. A fixture of "tables" needs no runs.
    """
    entries, at = content.get("runs"), 0
    if not (isinstance(entries, list) and entries):
        if "tables" not in content:
            yield Run(str(path), problems=[f"{path}: no list of 'runs' in it"])
        return
    raw = Path(path).read_bytes().decode("utf-8", errors="replace")  # only to count lines
    known = {key: content[key] for key in ("protocol", "versions") if isinstance(content.get(key), dict)}
    for i, entry in enumerate(entries):
        try:
            if "file" in entry:
                source = Path(path).with_name(os.path.basename(entry["file"]))
                text = source.read_text(encoding="utf-8", errors="replace")
            else:
                source = path
                at = max(raw.find(json.dumps(entry["text"][0]), at + 1), at)
                text = "\n" * raw.count("\n", 0, at) + "\n".join(entry["text"])
            found = parse_text(text, str(source))
        except (TypeError, KeyError, IndexError, ValueError):
            yield Run(str(path), problems=[f"{path}: run {i + 1} has no lines of text"])
            continue
        except OSError as e:
            yield Run(str(path), problems=[f"{path}: run {i + 1}: {source} cannot be read ({e.strerror or e})"])
            continue
        if not found:
            yield Run(str(path), problems=[f"{path}: run {i + 1}: no grid, no one-line result in it"])
        for run in found:
            run.label = str(entry.get("label", os.path.basename(os.path.splitext(path)[0])))
            given = [args for args in (content.get("args"), entry.get("args")) if isinstance(args, dict)]
            run.args = {key: value for args in given for key, value in args.items()}
            run.record = dict(known) or None
            yield run
