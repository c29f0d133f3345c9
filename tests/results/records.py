"""Hand-made records for the tests of comparison, regression, figures and report."""

import json

CAPABLE = {
    "python": "3.11.7",
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "quadprog": "0.1.14",
    "cpu_capability": "AVX512",
}


def make(model="gem", seed=0, final=0.75, shift=0.0, **changes):
    """A record of two tasks whose final accuracy is `final`: grid [[.9, .2], [final, final]], baseline .1.

    changes: of args, protocol, versions, counts or the record itself, by name.
    """
    record = {
        "format": 1,
        "status": "done",
        "model": model,
        "args": {"model": model, "seed": seed, "lr": 0.1, "n_memories": 10, "memory_strength": 0.5, "n_hiddens": 100},
        "protocol": {"data_file": "d.pt", "data_hash": "a" * 64, "samples_per_task": [7, 7], "n_epochs": 1,
                     "batch_size": 1, "memory": 10, "head": "shared", "net": "MLP", "engine": "fast",
                     "parity": False, "task_order": [0, 1]},
        "baseline": [0.1, 0.1],
        "counts": {"steps": 14, "violations": 3 + seed, "qp_solves": 2},
        "seconds": {"train": 0.014, "eval": 0.5, "total": 1.0},
        "peak_memory_mb": 200.0,
        "evolution": {"step": [0, 7, 14], "task": [0, 0, 1], "accuracy": [[0.1, 0.1], [0.9, 0.2], [final, final]]},
        "versions": dict(CAPABLE),
        "device": "cpu",
        "threads": 1,
        "git": "abc",
        "started": f"2026-01-01T00:00:{seed:02d}",
        "command": f"python main.py --model {model} --seed {seed}",
    }  # fmt: skip
    for name, value in changes.items():
        for part in (record["args"], record["protocol"], record["versions"], record["counts"], record):
            if name in part or part is record:
                part[name] = value
                break
    record.setdefault("grid", [[0.9 + shift, 0.2], [final, final]])
    if "task_order" not in changes:
        record["protocol"]["task_order"] = [*range(len(record["grid"]))]
    record.setdefault("final", final)
    record.setdefault("backward", (record["grid"][-1][0] - 0.9 - shift) / 2 if record["grid"] else None)
    record.setdefault("forward", 0.05)
    return record


def write(folder, *records):
    """Each record as a file whose name says nothing; the folder as text."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        name = f"{len(list(folder.iterdir())):03d}.json"
        (folder / name).write_text(json.dumps(record), encoding="utf-8")
    return str(folder)
