"""The folder of a sweep: <name>/ holds a finished job's record and its output, <name>.failed the output of a failure.

A job's folder appears by one rename, complete: where it stands, the job is finished, and it is never written twice.
"""

import os
import shutil
import time
import uuid
from pathlib import Path

from results import RecordError, record

OUTPUT = "output"  # without suffix: no reader of results takes it for a run of its own
STALE = 3600  # seconds after which a temporary folder has lost its writer


class Store:
    """Results under ``folder``, created on first use; ``RecordError`` if it cannot be written."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def prepare(self):
        """Find out that the folder can be written, and clear away what a killed sweep left half written."""
        record.check_writable(self.folder)
        for left in self.folder.glob(".*.partial"):
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)

    def path(self, name: str) -> Path:
        return self.folder / name

    def status(self, job) -> str | None:
        """'done' or 'diverged' if the job's record is there and can be read, else None."""
        for path in self.path(job.name).glob("*.json"):
            try:
                run = record.read(path)
                return run["status"] if job.made(run) else None
            except (RecordError, KeyError):
                return None
        return None

    def add(self, job, files: dict[str, bytes]) -> bool:
        """Keep a finished job's files; False if they were there already, which then stay as they are."""
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
            if self.path(name).exists():  # no readable record of this job in it
                shutil.rmtree(self.path(name))
            try:
                partial.rename(self.path(name))
            except OSError:
                if self.status(job):  # another sweep came first
                    return False
                raise
        except OSError as error:
            raise RecordError(f"{self.path(name)}: cannot be written ({error.strerror or error})") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._failure(name).unlink(missing_ok=True)
        return True

    def fail(self, job, output: bytes):
        """Keep the output of the last attempt."""
        self._failure(job.name).write_bytes(output)

    def _failure(self, name: str) -> Path:
        return self.folder / f"{name}.failed"
