"""Random command lines over the whole table of flags, good values and bad ones; and what `main.py` makes of the words."""

import contextlib
import io
import random

import main
from data.strangers import one_line
from model import ALIASES, METHODS, UsageError, arguments
from model.arguments import FLAGS
from model.flags import Flag, median_or_number, never_or_number, real, sizes, whole, yes_no, yes_no_word
from scripts.fuzzing.target import Target

ODD = ["", " ", "nan", "inf", "-inf", "é", "٣", "1_0", "0x10", "1e", "None", "[1]", "{}", "\udcff", "a\nb", "\x1b[2J", "'", "%s",
       "-", "--", "-1e", "True", "x" * 303, "漢" * 120, "1" * 400, "1" * 5000]  # fmt: skip
WHOLE = ["1.0", "1.5", "1e1", "+5", " 5 ", "-0", "-1", "1e9", "1e18", "1e19", "1e300", "1e999", 2**31, 2**32, 2**53, 2**63 - 1,
         2**63, -(2**63), 10**7, 10**12]  # fmt: skip
REAL = ["0", "-0.0", "1e-45", "1.1e-38", "1.2e-38", "1e-30", "1e-20", "1e-9", "0.01", "0.3", "1", "30", "1e3", "1e6", "1e10",
        "1e19", "1e25", "1e30", "3.4e38", "3.5e38", "1e39", "1e308", "1e309", "-1", "-1e-30", "0,5"]  # fmt: skip
FILES = {"tiny.pt": False, "split.pt": True, "text.pt": None}  # whether each task has classes of its own; None: text
YES_NO = ["yes", "no", "True", "False", "1", "0", "YES", "maybe", "2"]
NAMES = ["", ".", "..", "r", "new", "new/below", "tiny.pt", "tiny.pt/below", "é", "a b", "a'b\"", "\udcff", "a\nb", "~", "-x",
         "$x", "/dev/null", "/dev/full", "/proc/none", "x" * 255, "x" * 303, "漢" * 100, "r/" * 2000]  # fmt: skip
# Flags whose large good values take long or much, as they should; the absurd ones come from WHOLE.
SMALL = {
    "n_epochs": [1, 2, 3],
    "n_hiddens": [1, 2, 5, 8, 100],
    "n_layers": [0, 1, 2, 3, 40, 1001],
    "threads": [1, 2, 3, 64, 65, 100_000],
    "log_every": [1, 2, 7, 100],
    "batch_size": [1, 2, 7, 40, 1000],
    "n_tasks": [1, 2, 3, 4],
    "first_task": [0, 1, 2, 3],
    "validation": [0, 1, 39, 40],
    "pretrain_steps": [0, 1, 5],
    "probe": ["", "sparsity", "curve,updates", "alignment,latents", "confidence", "drift", "none"],
    "n_memories": [0, 1, 2, 5, 40, 1000],
    "forgetting_task_ids": ["0", "0,1", "0,1,2", "1,1", "3", "-1", "0,", ",", "x", "0.0", "1e0", " 1", "0;1"],
}
PLACES = ("data_path", "data_file", "save_path", "tensorboard", "raw_path", "cuda", "forgetting_task_ids")
HUGE = {
    "n_epochs": 10**8,
    "n_hiddens": 10**6,
    "n_layers": 1001,
    "batches_per_example": 10**19,
}  # below, a good value of WHOLE would take long


def values(flag: Flag) -> list:
    """Values to try for a flag: inside its range, at its edges, beyond them, and of other kinds."""
    if flag.name == "model":
        return [
            *METHODS,
            *METHODS,
            *ALIASES,
            "Gem",
            "memory",
            "common",
            "numeric",
            "os",
            "__init__",
            "model.gem",
            "../gem",
            "import",
        ]
    if flag.name == "data_file":
        return [*NAMES, "tiny.pt", "../tiny.pt", "mnist.pt"]
    if flag.kind is str and not flag.choices:
        return SMALL.get(flag.name, NAMES)
    edges = [value for edge in (flag.low, flag.high) if edge is not None for value in (edge - 1, edge, edge + 1)]
    if flag.kind is whole:
        wide = [value for value in [*edges, *WHOLE] if not 1 < float(value) < HUGE.get(flag.name, 0)]
        return [*3 * SMALL.get(flag.name, [1, 2, 3, 10, 50, 200]), *wide]
    if flag.kind is sizes:
        return ["auto", "8", "8,4", "0", "8,,4", "-1,2", "1000000000", *ODD]
    if flag.kind in (real, median_or_number, never_or_number):
        return [*REAL, *edges, flag.default]
    return YES_NO if flag.kind in (yes_no, yes_no_word) else [*3 * flag.choices]


def right(flag: Flag, value) -> bool:
    """Whether the table takes the value."""
    try:
        flag.parse(str(value))
    except UsageError:
        return False
    return True


def command(number: int) -> list[str]:
    """The command line of this number: the small data file, a method, and some flags.

    Those of even numbers have values that the table takes, mostly of flags that the method uses: they are to run.
    """
    draw, tame = random.Random(number), number % 2 == 0
    model = draw.choice(list(METHODS) if tame or draw.random() < 0.9 else values(FLAGS["model"]))
    given = {
        **{"data_path": ".", "data_file": "tiny.pt" if draw.random() < 0.8 and model != "icarl" else "split.pt"},
        **({"data_file": "text.pt"} if model == "das" else {}),
        **{"save_path": "r", "threads": 1, "model": model, "n_hiddens": 8},
        **{"n_memories": draw.choice([1, 5, 50]), "lr": draw.choice(["0.01", "0.1", "1"])},
    }
    if draw.random() < 0.2:
        given |= {"forgetting_mode": "yes", "forgetting_task_ids": draw.choice(["0", "0,1", "2"])}
    own = [name for name in FLAGS if model in METHODS and name in METHODS[model].flags]
    others = [name for name in FLAGS if arguments.uses(model, name)] if tame else list(FLAGS)
    for name in draw.choices([*others, *6 * own, *6 * ["lr"]], k=draw.randint(0, 6)):
        flag = FLAGS[name]
        value = draw.choice(ODD) if not tame and draw.random() < 0.1 else draw.choice(values(flag))
        if name != "model" and (not tame or (right(flag, value) and name not in PLACES)):
            given[name] = value
    argv = []
    for name, value in given.items():
        argv += [f"--{name}={value}"] if draw.random() < 0.1 else [f"--{name}", str(value)]
    if not tame and draw.random() < 0.05:
        argv.insert(draw.randrange(len(argv)), draw.choice([*ODD, "--unheard_of", "-h", "--n_mem", "@file"]))
    if not tame and draw.random() < 0.05:
        del argv[draw.randrange(len(argv))]
    return argv


LONGEST = 4000  # characters of the sentence about a command line


def require_an_end(argv: list[str]) -> bool:
    """Parse a command line; True if its arguments were settled. They are all there and in range, or one sentence says why not."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            args, module, unused = main.parse(argv)
    except UsageError as mistake:
        sentence = one_line(str(mistake))
        assert sentence.strip() and len(sentence) <= LONGEST, sentence
        return False
    except SystemExit as leave:  # --help
        assert not leave.code and "usage: main.py" in out.getvalue()
        return False
    assert set(FLAGS) <= set(vars(args)) and hasattr(module, "Net")
    for flag in FLAGS.values():
        value = getattr(args, flag.name)
        assert isinstance(value, str | int | float | None)
        flag.check(value)
    assert not any(arguments.uses(args.model, name) for name in unused)
    return True


def _parse(path):
    """Parse the command line whose words end with a NUL, as they do in /proc/PID/cmdline."""
    require_an_end(path.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1])


def packed(argv: list[str]) -> bytes:
    """The words as /proc/PID/cmdline holds them."""
    return "".join(word + "\0" for word in argv).encode("utf-8", "surrogateescape")


def _words() -> tuple[bytes, ...]:
    """Every flag with each of its values and of the odd ones, as words that may be put into a command line."""
    return tuple(
        packed(["", f"--{flag.name}", str(value)]) for flag in FLAGS.values() for value in (*values(flag), *ODD)
    )


FOLLOWED = ("main", "model.arguments", "model.flags", "model.combinations", "model.lookup", "model.own_flags")
TARGETS = {
    "command_line": Target(_parse, (), lambda: [packed(command(number)) for number in range(40)], FOLLOWED, _words())
}
