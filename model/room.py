"""What fits into memory: asked before much is taken, and told in one sentence where it did not."""

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from model import UsageError

GROUP = Path("/sys/fs/cgroup")  # what Linux says of this process's control group
LITTLE = 2**26  # bytes that nobody needs to ask for
REFUSED = re.compile("alloc|out of memory|not enough memory", re.IGNORECASE)  # torch says so in a RuntimeError


def available_memory(cuda: bool = False) -> int:
    """Bytes that can still be had: of the GPU, or of the machine and this process's control group."""
    if cuda:
        return torch.cuda.mem_get_info()[0]
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # the bound where the system does not say more
    with suppress(OSError, StopIteration), open("/proc/meminfo") as file:
        free = next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    with suppress(OSError, ValueError):  # no control group, or one without a limit ("max")
        most, used = (int((GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        held = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
        free = min(free, most - used + int(held.get("inactive_file", 0)))  # files in its cache make room
    return free


def require(n_bytes: int, what: str, cuda: bool = False) -> None:
    """``UsageError`` unless so many bytes can still be had; ``what`` begins its sentence, and names the flags."""
    if n_bytes <= LITTLE:
        return
    free = available_memory(cuda)
    if n_bytes > free:
        raise UsageError(
            f"{what} does not fit into memory ({n_bytes / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free); give fewer"
        )


@contextmanager
def told():
    """A failure to take memory inside becomes a ``UsageError``; other errors pass unchanged."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not REFUSED.search(str(error)):
            raise
        reason = " ".join(str(error).split()) or "MemoryError"
        raise UsageError(
            f"this run does not fit into memory ({reason}); give a smaller network, fewer examples to store, or less data"
        ) from error
