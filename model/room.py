"""What fits into memory: asked before much is taken, and told in one sentence where it did not."""

import os
import re
from contextlib import contextmanager

import torch

from model import UsageError

LITTLE = 2**26  # bytes that nobody needs to ask for
REFUSED = re.compile("alloc|out of memory|not enough memory", re.IGNORECASE)  # torch says so in a RuntimeError


def available_memory(cuda: bool = False) -> int:
    """Bytes that can still be had: of the GPU, or of the machine and this process's control group."""
    if cuda:
        return torch.cuda.mem_get_info()[0]
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/proc/meminfo") as file:
            free = next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass  # not Linux: the machine's whole memory is the bound
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            free = min(free, int(limit.read()) - int(used.read()))
    except (OSError, ValueError):
        pass  # no control group, or one without a limit
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
