"""What the builders share: tasks from images and pixel indices, and the command line."""

import argparse
import inspect
import signal
import sys
from pathlib import Path

import torch

from data import DataError, files, sources, standard
from data.strangers import one_line


def build_indexed(out, name, stream, raw_path=None, n_train=None, n_test=None, dtype=None):
    """Write `out`: for each (description, pixel index) of `stream`, all images of `name` seen through it.

    Only the first n_train training and n_test test images are used, all of them by default. dtype as in `pixel_form`.
    """
    form, n_bytes_each = pixel_form(name, dtype)
    splits = []
    for (x, y), n in zip(sources.images(name, raw_path), (n_train, n_test), strict=True):
        n = limit(n, len(x))
        # One black column more: the pixel that lies outside the image.
        splits.append((torch.nn.functional.pad(x[:n], (0, 1)).numpy(), y[:n].clone()))
    n_bytes = sum(n_bytes_each * len(y) * len(index) for _, y in splits for _, index in stream)
    files.check_target(out, n_bytes)

    def tasks(x, y):
        for description, index in progress(stream, out):
            # "clip" does not look at each index for each image, which takes as long as the copy
            yield description, form(torch.from_numpy(x.take(index.numpy(), axis=1, mode="clip"))), y

    files.save(out, *(tasks(x, y) for x, y in splits))


def pixel_form(name, dtype=None):
    """(what turns images (N, n) of `name`, uint8, into pixels of a data file, bytes a pixel).

    dtype "uint8" keeps bytes, as is the default where white is 255; "float32" divides by white. DataError for bytes
    whose white is another.
    """
    white = sources.WHITE[name]
    if dtype is None:
        dtype = "uint8" if white == 255 else "float32"
    if dtype == "float32":
        return (lambda x: x.float().div_(white)), 4
    if white != 255:
        raise DataError(f"--dtype uint8: bytes stand for k / 255, and white is {white} in {name}; give --dtype float32")
    return (lambda x: x), 1


def limit(n, available):
    """How many examples to use: `n`, or all that are available for None; DataError if there are fewer."""
    if n is None:
        return available
    if not 1 <= n <= available:
        raise DataError(f"{n} examples: must be from 1 to the {available} there are")
    return n


def progress(tasks, out):
    """The tasks, with a progress bar on a terminal."""
    from tqdm import tqdm

    return tqdm(tasks, desc=f"building {Path(out).name}", unit="task", leave=False, disable=not sys.stderr.isatty())


HELP = {
    "n_tasks": "number of tasks",
    "seed": "seed of the generator that draws the tasks, or the images held out",
    "min_rot": "smallest angle in degrees",
    "max_rot": "largest angle in degrees (the standard files go to 180)",
    "rounds": "times that the angles come, one round after another",
    "step": "degrees from each task to the next, instead of random angles",
    "n_train": "use the first N training images only (of each task where tasks split the classes); sequences of text",
    "n_test": "use the first N test images only (likewise)",
    "n_general": "sequences of text that belongs to no task",
    "length": "tokens of a sequence",
    "test_files": "a task's test text comes from N files at least, if these are no more than a quarter of its files",
    "folders": "text of your own: folders, separated by commas; the first holds general text, each other one a task",
    "tokenizer": "tokens of a tokenizer of transformers, by name or folder, instead of bytes",
    "vocabulary": "so many tokens, found by the library tokenizers in the general text, instead of bytes",
    "dtype": "of the pixels: uint8, or float32, which the reference's main.py reads",
    "heldout": "train: a sixth of the training images is held out; test: the test images are",
}
CHOICES = {"dtype": ("uint8", "float32"), "heldout": ("train", "test")}
PATHS = ("folders", "tokenizer")
TEXT = {"folders": "this Python installation", "vocabulary": "bytes", "tokenizer": "bytes"}  # where they are not given


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise DataError(f"{message}; see --help")


class _Terminated(BaseException):
    pass


def main(build, default_out, argv=None):
    """Command line of a builder: one flag for each argument of `build`, `--i` for raw_path, `--o` for out.

    `default_out` is the name of the file, or {value of --heldout: name}.
    """
    named = isinstance(default_out, dict)
    shown = " or ".join(default_out.values()) if named else default_out
    parser = Parser(description=inspect.getmodule(build).__doc__)
    parser.add_argument("--i", default=None, metavar="FOLDER", help="raw files, looked for here first")
    parser.add_argument("--o", default=None, metavar="FILE", help=f"output file (default: {shown})")
    for name, parameter in inspect.signature(build).parameters.items():
        if name in HELP:
            shown = ({"step": "none", "dtype": "uint8 for images of 8 bits"} | TEXT).get(name, "all")
            if parameter.default is not None:
                shown = parameter.default
            kind = {"type": float if name.endswith(("_rot", "step")) else str if name in PATHS else int}
            if name in CHOICES:
                kind = {"choices": CHOICES[name]}
            parser.add_argument(f"--{name}", **kind, default=parameter.default, help=f"{HELP[name]} (default: {shown})")

    def act():
        given = vars(parser.parse_args(argv))
        out = given.pop("o") or (default_out[given["heldout"]] if named else default_out)
        build(out, raw_path=given.pop("i"), **given)
        unlike = standard.unlike(Path(out).name, build, given)
        if unlike:
            print(f"note: {out}: {unlike}", file=sys.stderr)
        return f"{out}: {size(Path(out).stat().st_size)}"

    return status(act)


def status(act):
    """The exit status of a command whose work is `act`; prints the line that it returns, or in one what was wrong."""

    def stop(*_):
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)  # so that a half-written file is removed
    try:
        print(act())
    except DataError as error:
        print(one_line(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted, nothing written", file=sys.stderr)
        return 130
    except _Terminated:
        print("terminated, nothing written", file=sys.stderr)
        return 143
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def size(n_bytes):
    """A number of bytes for people: '376 MB', '4.4 GB'."""
    digits = 0 if n_bytes >= 1e7 else 1
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.{digits}f} MB"
