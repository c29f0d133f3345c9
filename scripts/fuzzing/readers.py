"""What is fuzzed of results/ and of sweeps: logs of every format, all that the tools make of them, and command lines."""

import argparse
import contextlib
import io
import json
import zlib

import numpy as np
import torch

from model import UsageError
from results import RecordError, show
from results.comparing import cells, comparable, frames, inference, matching, protocol
from results.comparing.deviations import check
from results.comparing.measures import DEFAULT, MEASURES
from results.comparing.rows import rows
from results.comparing.tables import tables
from results.drawing import curves
from results.reading import probed
from results.reading.logs import parse
from results.reading.run import Run
from results.table import FORMATS
from scripts.fuzzing.target import Target
from scripts.sweeping import jobs

GRID = "0.1000 0.2000\n|\n0.9000 0.3000\n0.8000 0.7000\n\nFinal Accuracy: 0.7500\nBackward: -0.0500\nForward:  0.0500\n"
ARGS = {
    "model": "gem",
    "data_file": "d.pt",
    "seed": 3,
    "lr": 0.1,
    "n_memories": 10,
    "memory_strength": 0.5,
    "x": [1, 2],
}
RECORD = {
    "format": 1, "status": "done", "model": "gem", "args": ARGS,
    "protocol": {"data_file": "d.pt", "data_hash": "a" * 64, "samples_per_task": [7, 7], "n_epochs": 1, "batch_size": 1,
                 "memory": 10, "head": "shared", "net": "MLP", "engine": "fast", "parity": False, "task_order": [0, 1]},
    "grid": [[0.9, 0.3], [0.8, 0.7]], "baseline": [0.1, 0.2], "final": 0.75, "backward": -0.05, "forward": 0.05,
    "metrics": {"lca": 0.5}, "counts": {"steps": 14, "violations": 3}, "seconds": {"train": 0.1, "total": 1.0},
    "peak_memory_mb": 200.0, "versions": {"torch": "2.13.0"}, "device": "cpu", "threads": 1, "git": "abc",
    "evolution": {"step": [0, 7, 14], "task": [0, 0, 1], "accuracy": [[0.1, 0.2], [0.9, 0.3], [0.8, 0.7]]},
    "forgetting": {"attacked": [0], "before": [0.8, 0.7], "after": [0.2, 0.7], "effect": 0.6, "retention": 0.0},
    "started": "2026-01-01T00:00:00", "command": "python main.py --model gem",
}  # fmt: skip
LOGGED = {"logged": "x", "args": ARGS, "protocol": RECORD["protocol"], "versions": {"torch": "2.13.0"},
          "runs": [{"label": "one", "args": {"seed": 4}, "text": GRID.splitlines()}, {"file": "absent.txt"}]}  # fmt: skip


FORMS = (*FORMATS, "json")


def _tools(path):
    """Read a log, and make all that results.* make of it but files; the tables in one format, as the input decides."""
    found = parse(path)
    for run in found:
        show.format_run(run)
        assert run.problems or not run.empty
    usable = [run for run in found if not run.empty and cells.method(run) is not None]
    if not usable:
        return
    with contextlib.suppress(RecordError):
        frames.long(usable, ("model", "lr"), tuple(MEASURES))
        gathered = cells.gather(usable, ("model",), ("seed", "lr"))
        table = rows(gathered, ("model",), tuple(MEASURES), cells.label(next(iter(gathered))))
        notes = [protocol.sentence(usable), *comparable.warnings(gathered, ("model",))]
        form = FORMS[zlib.crc32(path.read_bytes()) % len(FORMS)]
        tables(table, DEFAULT, None, form, inference.CONFIDENCE, "", notes)
        drawn = {"x": [run for cell in gathered.values() for run in cells.done(cell).values()]}
        curves.lines(drawn)
        curves.mean_grid(drawn["x"])
    check(usable[0], matching.grouped(usable))


def _probe_arrays(path):
    """What beside a record is called what probes left."""
    run = Run(str(path.with_suffix(".json")), record={"probes": {"updates": {}}})
    with contextlib.suppress(RecordError):
        assert all(array.dtype.kind in "biuf" for array in probed.arrays(run, "updates").values())


def _npz():
    made = []
    for save in (np.savez, np.savez_compressed):
        save(
            buffer := io.BytesIO(), **{"updates.size": np.arange(6.0), "updates.task": np.arange(3), "x": np.arange(2)}
        )
        made.append(buffer.getvalue())
    return made


def _torch_files():
    t, a = torch.tensor([0.0, 0, 1]), torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.8, 0.7]])
    made = []
    for args in (ARGS, argparse.Namespace(**ARGS)):
        for zipped in (True, False):
            buffer = io.BytesIO()
            parts = (t, a, {"w": torch.zeros(2)}, [0.75, -0.05, 0.05], "line", args)
            torch.save(parts, buffer, _use_new_zipfile_serialization=zipped)
            made.append(buffer.getvalue())
    return made


def _commands(path):
    text = path.read_text("utf-8", errors="replace")
    found = [words for _, words in jobs.lines(text, "x")]
    for words in found[:5]:
        for argv in jobs.product(jobs.grouped(words))[:5]:
            jobs.of_line(argv)


READING = ("results.reading.logs", "results.reading.fields", "results.reading.run", "results.comparing.cells")
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
NUMBERS = (b"NaN", b"Infinity", b"-1", b"1e999", b"1e308", b"9" * 400, b"null", b"true", b"0.5")
TEXTS = (b'"', b"\\ud800", b"\\u001b[31m", b"$x^$", b"[2cm]", b"=1+1", b"a\\\\|b", b"<b>", b"[" * 900, b"{" * 5000)
TARGETS = {
    "record": Target(
        _tools, (), lambda: [json.dumps(RECORD).encode(), json.dumps({**RECORD, "status": "diverged", "grid": []}).encode()],
        (*READING, "results.reading.records", "results.reading.grid", "results.comparing.deviations"), NUMBERS + TEXTS, "x.json",
    ),
    "logged": Target(_tools, (), lambda: [json.dumps(LOGGED).encode()], (*READING, "results.reading.logged"), NUMBERS + TEXTS,
                     "x.json"),
    "log": Target(
        _tools, (), lambda: [GRID.encode(), f"{GRID}x: {ARGS} # 0.750 -0.050 0.050 # 1.0\n".encode() * 2, GRID.encode("utf-16")],
        (*READING, "results.reading.text", "results.reading.grid", "results.comparing.deviations"),
        (b"\n|\n", b"Final Accuracy: ", b"Backward: nan", b"} # ", b"{", b"1.e5", b"0x" + b"f" * 5000, b"1j", b"b'x'", b"{1}",
         b"\r", b"\x1b[2K", b"0.5 " * 50, b"nan", b"-inf", b"\xe2\x88\x92"), "x.txt",
    ),
    "run_pt": Target(_tools, (), _torch_files, (*READING, "results.reading.reference"),
                     (b"PK\x03\x04", b"PK\x05\x06", b"data.pkl", b"cargparse\nNamespace\n", b"cos\nmkdir\n", b"R", b"0", b"."),
                     "x.pt"),
    "probe_arrays": Target(
        _probe_arrays, (), _npz, ("results.reading.probed", "zipfile"),
        (*ZIP, b"updates.", b"\x93NUMPY\x01\0", b"(6,)", b"(-1,)", b"(10000000000000,)", b"'|O'", b"'|V8'"),
        "x.npz",
    ),
    "commands": Target(
        _commands, (UsageError,),
        lambda: [b"--model gem --n_memories 10 --seed 0..2 --lr 0.1 0.3  # a comment\n--model single \\\n --lr '0.1'\n"],
        ("scripts.sweeping.jobs",), (b"'", b'"', b"\\", b"#", b"--", b"=", b"..", b"0..9", b"0..99999999", b"--help", b"--seed"),
    ),
}  # fmt: skip
