"""What was found out about a data file by reading all of it, kept in `<file>.identity.json` beside it.

It holds as long as the file has the same size, modification time, change time and inode. Programs can set the first two
as they like, but not the change time: copies, `rsync -t` and `touch` are noticed. Damage below the file system is not;
`--verify yes` reads the file again.
"""

import json
import os
import re
import stat

from data import temporary

# To be raised when the checks or the hash change: a remembered verdict of another number is ignored.
FORMAT = 3
LIMIT = 4_096  # bytes; a longer file is none of ours


def key(of: os.stat_result) -> dict:
    """What tells a file from its former and later contents."""
    return {"size": of.st_size, "mtime_ns": of.st_mtime_ns, "ctime_ns": of.st_ctime_ns, "inode": of.st_ino}


def recall(path, of: os.stat_result) -> dict | None:
    """{"hash": .., "bytes": ..} if that is known of the file as it is now; else None."""
    try:
        descriptor = os.open(_place(path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            text = file.read(LIMIT + 1)
        known = json.loads(text) if len(text) <= LIMIT else {}
        same = {name: known[name] for name in ("format", *key(of))} == {"format": FORMAT, **key(of)}
        whole = re.fullmatch("[0-9a-f]{64}", known["hash"]) and isinstance(known["bytes"], bool)
        return {"hash": known["hash"], "bytes": known["bytes"]} if same and whole else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def remember(path, of: os.stat_result, known: dict) -> None:
    """Write what was found beside the file; where the folder cannot be written, it is found anew every time."""
    try:
        with temporary.replacing(_place(path)) as (file,):
            file.write(json.dumps({"format": FORMAT, **key(of), **known}).encode() + b"\n")
    except OSError:
        pass


def _place(path):
    return path.with_name(path.name + ".identity.json")
