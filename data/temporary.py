"""Files that appear under their name complete or not at all, and the removal of what killed processes left of them."""

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import stat
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PATTERN = ".*.tmp"  # all temporary names, and more
NAME = re.compile(r"\..{1,40}\.(?P<process>\d{1,9})-(?P<host>[0-9a-f]{8})-[0-9a-f]{8}\.tmp", re.DOTALL)
HOST = hashlib.sha256(os.fsencode(platform.node())).hexdigest()[:8]
STALE = 3600  # seconds without a write after which what a process of another machine wrote counts as left behind


@contextlib.contextmanager
def replacing(*paths):
    """New binary files, one for each path, that take the paths' places when the block ends, and vanish if it fails.

    They are written under temporary names beside the paths, and locked. All of them are forced to disk before the first
    is renamed; they are renamed in the order given. OSError, also where torch makes a RuntimeError of it.
    """
    paths = [Path(path) for path in paths]
    for path in paths:
        require_replaceable(path)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_created(path)) for path in paths]
        try:
            yield files
        except RuntimeError as error:
            raise _cause(error) from None
        for file in files:
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no open file
        for file, path in zip(files, paths, strict=True):
            os.replace(file.name, path)
    for folder in {path.parent for path in paths}:
        _flush_folder(folder)


def require_replaceable(path) -> None:
    """OSError if ``path`` is there and is no regular file.

    A rename would put a file in the place of a device or a pipe, such as /dev/null; to open a pipe could take for ever.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:  # nothing is there, or nothing that can be reached, which the write will tell
        return
    if not stat.S_ISREG(mode):
        what = "is a folder, not a file" if stat.S_ISDIR(mode) else "is there and is no regular file"
        raise OSError(errno.EINVAL, what, str(path))


def require_writable(path) -> None:
    """OSError if ``replacing(path)`` would fail; for the start of long work."""
    require_replaceable(path)
    try_out(Path(path).parent)


def write(path, content: bytes) -> None:
    """Put a file of this content in the path's place, by ``replacing``."""
    with replacing(path) as (file,):
        file.write(content)


def make_folder(folder) -> None:
    """Make ``folder``, and those above it, unless they are there. OSError if not, also where they are too deep for Python."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except RecursionError:
        raise OSError(errno.ENAMETOOLONG, "too many folders inside one another") from None


def try_out(folder) -> None:
    """Find out whether a file can be written into ``folder``, and leave none there. OSError if not."""
    with _created(Path(folder) / "trial") as file:
        file.write(b"{}\n")
        file.flush()


def remove_left_over(folder) -> None:
    """Remove the temporary files in ``folder`` whose writers are dead. Whatever cannot be removed stays.

    A writer on this machine is dead if no process has its number. Of one on another machine that shares the folder
    nothing is known, so its file must be old. No file goes that is locked, where the file system has locks.
    """
    if fcntl is None:  # and asking for a process would end it
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process may remove it too
                match = NAME.fullmatch(entry.name)
                if match and entry.is_file(follow_symlinks=False) and _left(match, entry.stat()):
                    with open(entry.path, "rb") as file:
                        if _lock(file):
                            os.unlink(entry.path)


@contextlib.contextmanager
def _created(path: Path):
    """A new locked file beside ``path``, hidden, so that no reader takes it for a result; it is removed at the end."""
    name = path.with_name(f".{path.name[-40:]}.{os.getpid()}-{HOST}-{secrets.token_hex(4)}.tmp")
    with open(name, "x+b") as file:  # never through a link that somebody laid there
        try:
            _lock(file)
            yield file
        finally:
            with contextlib.suppress(OSError):
                name.unlink()


def _cause(error: BaseException) -> BaseException:
    """The first interrupt or error of the system among the causes of ``error``, else ``error`` itself.

    When a write fails, torch goes on to close its archive, fails again, and reports that as a RuntimeError.
    """
    seen = error
    while seen is not None:
        if isinstance(seen, OSError | KeyboardInterrupt):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error


def _left(match: re.Match, status: os.stat_result) -> bool:
    if match["host"] != HOST:
        return time.time() - status.st_mtime > STALE
    process = int(match["process"])
    return process == os.getpid() or not _alive(process)  # a container gives its processes the same number each time


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


def _lock(file) -> bool:
    """Lock an open file as long as it is open; False if another process has locked it. True where there are no locks."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _flush_folder(folder: Path) -> None:
    """Force the folder's entries to disk, where the system can; else a crash might bring the previous files back."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
