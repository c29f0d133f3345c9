"""How much a log may hold. Logs come from strangers: what is larger is refused before it takes memory or time.

With these bounds no log that is read takes more than 1 GB, whatever is in it. The record of a run on ``TASKS`` tasks is inside
them: its grid, the same with all outputs competing, and its curve (``results.life.CURVE``).
"""

from results import RecordError

TASKS = 2_000  # of a record of ours
JSON = 240 * 10**6  # bytes of a .json file
OTHER_JSON = 48 * 10**6  # the same of one that is not ASCII, as ours are: one large character makes all of them large
VALUES = 12_000_000  # numbers and others in it, or accuracies in a .pt file
LARGE = 2_000_000  # lists, objects and texts in it, which take more than a number does
TEXT = 32 * 10**6  # bytes of a text
LINE = 1_000_000  # characters of one of its lines
ARGUMENTS = 100_000  # characters of the arguments in a one-line result
NUMBERS = 1_000_000  # of one grid
RUNS = 100_000  # of one text
PICKLE = 1_000_000  # bytes of a .pt file without its tensors
TORCH = 256 * 10**6  # bytes of a .pt file, which is read whole
ARRAYS = 1000 * 10**6  # bytes of what probes left in a .npz file
NAME = 1_000  # characters of a method, a data file or a status
LARGEST = 1e15  # magnitude of a measured number


def contents(path, most):
    """The bytes of a file, also of a pipe; RecordError if there are more than ``most``."""
    with open(path, "rb", closefd=path != 0) as f:
        data = f.read(most + 1)
    if len(data) > most:
        raise RecordError(f"{path}: is larger than the {most // 10**6} MB that are read of such a file")
    return data
