"""Files that appear under their name complete or not at all, and the removal of what killed processes left of them."""

import contextlib
import os
import re
import secrets
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = re.compile(r"(?P<target>.+)\.tmp(?P<process>\d{1,9})-[0-9a-f]{8}")


@contextlib.contextmanager
def replacing(path):
    """A new binary file that takes the place of ``path`` when the block ends, and vanishes if the block fails.

    It is written under a temporary name beside ``path``, locked, and forced to disk before it is renamed. OSError.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp{os.getpid()}-{secrets.token_hex(4)}")
    with open(temporary, "xb") as file:
        try:
            with contextlib.suppress(OSError):  # where the system has no locks, nobody else removes the file either
                _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def remove_left_over(folder) -> None:
    """Remove the temporary files in ``folder`` whose writers are dead; on this machine, as the process's number tells,
    and on others that share the folder, as the lock tells. Whatever cannot be removed stays."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = NAME.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False) and not _alive(int(match["process"])):
                with contextlib.suppress(OSError), open(entry.path, "rb") as file:
                    _lock(file)
                    os.unlink(entry.path)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


def _lock(file) -> None:
    """Lock an open file as long as it is open. OSError if another process has locked it, or the system has no locks."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
