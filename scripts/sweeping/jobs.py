"""Command lines and grids of main.py's flags become jobs; a job's name is the hash of its settled arguments."""

import hashlib
import itertools
import json
import math
import os
import re
import shlex
from typing import NamedTuple

import main
from data import DataError
from model import UsageError, own_flags
from model.arguments import FLAGS, of_role, uses
from model.flags import Role

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), os.pardir, os.pardir))
RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(\d{1,18}))?")
PLACES = of_role(Role.PLACE)
MOST = 100_000  # the most command lines of one sweep
BLANKS = " \t\r\n"
LONGEST = 200_000  # characters of one of them; a system takes words of 130,000
# The part of a line before a comment. As in a shell, # begins a comment only at the start of a word and outside quotes.
UNCOMMENTED = re.compile(r"""(?:\\.\#*|'[^']*'|"(?:\\.|[^"\\])*"|(?<=\S)\#|[^#])*""")
# A word of a command line, as pieces that are plain, quoted or escaped. shlex takes the square of a word's length.
WORD = re.compile(r"""(?:[^ \t\r\n'"\\]+|'[^']*'|"(?:[^"\\]|\\.)*"|\\.)+""", re.DOTALL)
PIECE = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^'"\\]+)""", re.DOTALL)
ESCAPED = re.compile(r"""\\(["\\])""")  # in double quotes; before any other character a backslash is one


class Job(NamedTuple):
    """One run. ``name``: the method and 16 hexadecimal digits; ``argv``: what main.py gets; ``args``: all, settled."""

    name: str
    argv: tuple[str, ...]
    args: dict

    @property
    def command(self) -> str:
        return shlex.join(["python", "main.py", *self.argv])

    def made(self, run: dict) -> bool:
        """Whether the record ``run`` belongs to this job. It does not if, say, a flag's default has changed since."""
        recorded = used(run["args"])
        return all(recorded[name] == value for name, value in used(self.args).items() if name in recorded)


def of_line(argv: list[str], where: str = "") -> Job:
    """The job of one command line. ``--save_path`` is left out: a sweep's records go to one folder.

    ``--threads 1`` is added where no number of threads is given. ``UsageError`` begins with ``where``.
    """
    try:
        settled, module, unused = main.parse(argv)
    except (UsageError, DataError) as error:
        raise UsageError(f"{where}{error}") from None
    except SystemExit:  # main.py's --help
        raise UsageError(f"{where}--help is no job; see main.py --help") from None
    args, own = vars(settled), own_flags.of(module)
    spelled = {option for flag in own.values() for option in flag.spellings}
    for word in argv:
        option = word.partition("=")[0]
        name = option[2:].replace("-", "_")
        if option.startswith("--") and option not in spelled and name not in {*args, *unused}:
            raise UsageError(f"{where}{option}: in a sweep flags are written in full; see main.py --help")
    kept = _without(argv, "save_path")
    if not any(word == "--threads" or word.startswith("--threads=") for word in kept):
        kept, args["threads"] = [*kept, "--threads", "1"], 1
    return Job(f"{args['model']}-{_digest(args, {**FLAGS, **own})}", tuple(kept), args)


def used(args: dict) -> dict:
    """The arguments that decide what a run computes: those that its method uses, without the places of files."""
    return {name: value for name, value in args.items() if name not in PLACES and uses(args["model"], name)}


def place(path: str) -> str:
    """The real path of a folder; relative to the checkout's root if it is inside, so that a checkout can move."""
    real = os.path.realpath(path)
    return os.path.relpath(real, ROOT) if os.path.commonpath([ROOT, real]) == ROOT else real


def _digest(args: dict, flags: dict = FLAGS) -> str:
    """The hash of all values that are not the defaults of ``flags``, so that a new flag keeps the names of older jobs.

    Of the places only the data folder counts, because files of one name in two folders may differ.
    """
    given = {k: v for k, v in used(args).items() if k not in flags or v != flags[k].default or k == "model"}
    given["data_path"] = place(args["data_path"])
    text = json.dumps(given, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without(argv: list[str], flag: str) -> list[str]:
    kept, skip = [], False
    for word in argv:
        if not skip and not word.startswith(f"--{flag}="):
            skip = word == f"--{flag}"
            kept += [] if skip else [word]
        else:
            skip = False
    return kept


def grouped(words: list[str], where: str = "") -> dict[str, list[str]]:
    """``--lr 0.1 0.3 --seed=0`` as {"--lr": ["0.1", "0.3"], "--seed": ["0"]}; a flag given again replaces the first."""
    groups: dict[str, list[str]] = {}
    flag = None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            flag, equals, value = word.partition("=")
            groups[flag] = [value] if equals else []
        elif flag is None:
            raise UsageError(f"{where}{word!r}: a command line begins with a flag of main.py, such as --model gem")
        else:
            groups[flag].append(word)
    return groups


def values(flag: str, texts: list[str], where: str = "") -> list[str]:
    """The values of one flag of a grid: ``0..4`` is 0 1 2 3 4, and ``0..20..5`` is 0 5 10 15 20."""
    found = []
    for text in texts:
        match = RANGE.fullmatch(text)
        if match is None:
            found.append(text)
            continue
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if step < 1 or last < first:
            raise UsageError(f"{where}{flag} {text}: an empty range; give FIRST..LAST or FIRST..LAST..STEP, ascending")
        _limited(len(found) + (last - first) // step + 1, f"{where}{flag} {text}")
        found += map(str, range(first, last + 1, step))
    if not found:
        raise UsageError(f"{where}{flag}: has no value; give one or more")
    return list(dict.fromkeys(found))


def product(groups: dict[str, list[str]], where: str = "") -> list[list[str]]:
    """The command lines of a grid; the last flag varies fastest."""
    columns = [[(flag, value) for value in values(flag, texts, where)] for flag, texts in groups.items()]
    _limited(math.prod(map(len, columns)), f"{where}{' '.join(groups)}")
    return [[word for pair in line for word in pair] for line in itertools.product(*columns)]


def _limited(n: int, what: str):
    if n > MOST:
        raise UsageError(f"{what}: {n:,} command lines; a sweep takes at most {MOST:,}, so give fewer values")


def split(line: str) -> list[str]:
    """The words of a line as a shell and ``shlex.split`` make them; ``ValueError`` if a quotation does not end."""
    found, at = [], 0
    for word in WORD.finditer(line):
        if line[at : word.start()].strip(BLANKS):
            break
        at = word.end()
        pieces = PIECE.findall(word[0])
        found.append("".join(a or ESCAPED.sub(r"\1", b) or c or d for a, b, c, d in pieces))
    if line[at:].strip(BLANKS):
        raise ValueError("No closing quotation")
    return found


def lines(text: str, source: str):
    """Yield (place, words) of each command line in ``text``, without comments, blank lines, and words up to main.py."""
    pending, began = "", 1
    for number, line in enumerate([*text.splitlines(), ""], 1):  # a command may end in a backslash on the last line
        part = UNCOMMENTED.match(line[: LONGEST + 1])[0]
        if pending and line.strip() and not part.strip():
            raise UsageError(f"{source}:{number}: a comment inside a continued command; write it above the command")
        began = began if pending else number
        pending += part
        if len(pending) > LONGEST:
            raise UsageError(
                f"{source}:{began}: a command line of more than {LONGEST:,} characters; give it in several"
            )
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        try:
            words = split(pending)
        except ValueError as error:
            raise UsageError(f"{source}:{began}: {error}") from None
        pending = ""
        program = [i for i, word in enumerate(words) if os.path.basename(word) == "main.py"]
        words = words[program[0] + 1 :] if program else words
        if words:
            yield f"{source}:{began}: ", words


def read(files: dict[str, str], grid: dict[str, list[str]]) -> tuple[list[Job], list[str]]:
    """All jobs, each once, in order, and notes on what was left out.

    ``files`` maps names to texts of command lines; each line may be a grid. ``grid`` is added to every line, and its
    flags win over the line's. Without files ``grid`` is the only line.
    """
    sources = [place for name, text in files.items() for place in lines(text, name)]
    if not files and grid:
        sources = [("", [])]
    argvs, saved = [], False
    for where, words in sources:
        groups = {**grouped(words, where), **grid}
        saved |= "--save_path" in groups
        argvs += [(where, argv) for argv in product(groups, where)]
        _limited(len(argvs), f"{where}this line and those before it")
    jobs: dict[str, Job] = {}
    for where, argv in argvs:
        job = of_line(argv, where)
        jobs.setdefault(job.name, job)
    notes = []
    if same := len(argvs) - len(jobs):
        notes.append(
            f"{same} command lines left out: each computes the same as another (given twice, spelled in another way, or "
            "different only in flags that its method does not use)"
        )
    if saved:
        notes.append("--save_path left out: a sweep collects its records in the folder of --out")
    return list(jobs.values()), notes
