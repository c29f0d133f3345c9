"""The folder of a sweep: <name>/ holds a finished job's record and its output, <name>.failed the output of a failure.

A job's folder is complete when one rename makes it appear. If it is there, the job is finished, and it is not written
again. A folder without a readable record of its job is renamed to .<name>.<time>.replaced when the job has a new
result.
"""

import os
import shutil
import sys
import time
import uuid
from datetime import datetime
from pathlib import Path

from data import temporary
from results import RecordError, record
from results.reading import records

OUTPUT = "output"  # without suffix: no reader of results takes it for a run of its own


class Store:
    """Results under ``folder``, created on first use; ``RecordError`` if it cannot be written."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def prepare(self):
        """Check that the folder can be written, and remove the half-written files of killed sweeps."""
        record.check_writable(self.folder, flag="--out")
        for left in self.folder.glob(".*.partial"):
            if time.time() - left.stat().st_mtime > temporary.STALE:
                shutil.rmtree(left, ignore_errors=True)

    def path(self, name: str) -> Path:
        return self.folder / name

    def status(self, job) -> str | None:
        """'done' or 'diverged' if the job's record is there and can be read, else None."""
        for path in self.path(job.name).glob("*.json"):
            try:
                run = records.read(path)
                return run["status"] if job.made(run) else None
            except (RecordError, KeyError, TypeError, AttributeError):
                return None
        return None

    def add(self, job, files: dict[str, bytes]) -> bool:
        """Keep a finished job's files. False if the job's files are there already; these then stay unchanged."""
        name = job.name
        partial = self.folder / f".{name}.{uuid.uuid4().hex[:8]}.partial"
        try:
            partial.mkdir(parents=True)
            for file, content in files.items():
                with open(partial / file, "wb") as f:
                    f.write(content)
                    f.flush()
                    os.fsync(f.fileno())
            if self.status(job):
                return False
            try:
                partial.rename(self.path(name))
            except OSError:
                if self.status(job):  # another sweep came first
                    return False
                self._set_aside(self.path(name))
                partial.rename(self.path(name))
            self._failure(name).unlink(missing_ok=True)
            return True
        except OSError as error:
            raise _unwritable(self.path(name), error) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def fail(self, job, output: bytes):
        """Keep the output of the last attempt."""
        path = self._failure(job.name)
        try:
            temporary.write(path, output)
        except OSError as error:
            raise _unwritable(path, error) from None

    def _set_aside(self, path: Path):
        """Rename whatever is at `path`, since it is not a result of its job."""
        if path.exists():
            aside = path.with_name(f".{path.name}.{datetime.now():%Y_%m_%d_%H_%M_%S_%f}.replaced")
            path.rename(aside)
            print(f"note: {path} has no record of its job that can be read; it is {aside.name} now", file=sys.stderr)

    def _failure(self, name: str) -> Path:
        return self.folder / f"{name}.failed"


def _unwritable(path: Path, error: OSError) -> RecordError:
    return RecordError(f"{path}: cannot be written ({error.strerror or error})")
