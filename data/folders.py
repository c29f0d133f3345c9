"""Examples from a folder of images: FOLDER/class/image, or FOLDER/task/class/image; or either in FOLDER/train and FOLDER/test."""

import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np

from data import DataError
from data.examples import Examples
from data.strangers import one_line

NOT_IMAGES = ("thumbs.db", "desktop.ini")  # what systems leave in folders, beside hidden files
GREY = ("1", "L", "LA", "La")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # more than 8 bits a pixel


def read(path, size=None):
    """(training examples, test examples or None); images are resized to `size` x `size` if it is given.

    Images are grey if all are, else of three channels. DataError in one sentence.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("folders of images need pillow: pip install pillow") from error
    path = Path(path)
    try:
        parts = [path / name for name in ("train", "test") if (path / name).is_dir()]
        if len(parts) == 2:
            _note_others(path, [entry.name for entry in _visible(path) if entry not in parts])
        listed = [_listed(part) for part in (parts if len(parts) == 2 else [path])]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); give another folder") from error
    forms = [_form(Image, file) for part in listed for file, *_ in part]
    grey = all(mode in GREY for mode, _ in forms)
    side = (size, size) if size else _one_size(forms, [file for part in listed for file, *_ in part])
    read = [_examples(Image, part, "L" if grey else "RGB", side) for part in listed]
    return read[0], read[1] if len(read) == 2 else None


def _listed(folder):
    """[(file, class, task or None)] in the order of their names."""
    top = [entry for entry in _visible(folder) if entry.is_dir()]
    _note_others(folder, [entry.name for entry in _visible(folder) if not entry.is_dir()])
    if not top:
        raise DataError(f"{folder}: has no subfolders; give each class a folder of images, or each task one of classes")
    inside = {entry: _visible(entry) for entry in top}
    for entry, inner in inside.items():
        if not inner:
            raise DataError(f"{entry}: is empty; remove it, or put its images there")
    nested = {entry: [each.is_dir() for each in inner] for entry, inner in inside.items()}
    if not any(map(any, nested.values())):
        return [(file, entry.name, None) for entry, inner in inside.items() for file in inner]
    for entry, folders in nested.items():
        if not all(folders):
            (odd, *_) = [each for each in inside[entry] if not each.is_dir()]
            raise DataError(f"{odd}: lies beside folders of classes; keep images two folders deep everywhere, or one")
    found = []
    for entry, classes in inside.items():
        for each in classes:
            inner = _visible(each)
            if not inner:
                raise DataError(f"{each}: is empty; remove it, or put its images there")
            found += [(file, each.name, entry.name) for file in inner]
    return found


def _visible(folder):
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in NOT_IMAGES]


def _note_others(folder, names):
    if names:
        print(one_line(f"note: {folder}: not used: {', '.join(names)}"), file=sys.stderr)


def _form(Image, file):
    """(mode, (columns, rows)) of an image, from its first bytes."""
    with _opened(Image, file) as image:
        if image.mode in DEEP:
            raise DataError(f"{file}: has more than 8 bits a pixel (mode {image.mode}); save it with 8")
        return image.mode, image.size


def _one_size(forms, files):
    """(columns, rows) of all images; DataError if they differ."""
    for file, (_, size) in zip(files, forms, strict=True):
        if size != forms[0][1]:
            sizes = [f"{columns} x {rows}" for columns, rows in (forms[0][1], size)]
            raise DataError(
                f"{file}: is {sizes[1]} pixels, {files[0]} is {sizes[0]}; give images of one size, or --size SIDE to resize "
                "all of them"
            )
    return forms[0][1]


def _examples(Image, listed, mode, size):
    channels = len(mode) if mode == "RGB" else 1
    columns, rows = size
    x = np.empty((len(listed), channels * rows * columns), np.uint8)
    for row, (file, *_) in zip(x, listed, strict=True):
        with _opened(Image, file) as image:
            image = image.convert(mode)
            image = image if image.size == size else image.resize(size, Image.Resampling.BOX)
            row[:] = np.asarray(image).reshape(rows, columns, channels).transpose(2, 0, 1).reshape(-1)
    _, y, task = zip(*listed, strict=True)
    return Examples(x, np.array(y), None if task[0] is None else np.array(task), (channels, rows, columns))


@contextlib.contextmanager
def _opened(Image, file):
    """The image in `file`; any failure to read it inside becomes a DataError, since pillow raises errors of many kinds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # of images that would fill the memory
            with Image.open(file) as image:
                yield image
    except DataError:
        raise
    except Exception as error:
        if file.is_dir():
            raise DataError(
                f"{file}: is a folder among images; keep images two folders deep everywhere, or one"
            ) from error
        reason = " ".join(str(getattr(error, "strerror", None) or error).replace(f" {str(file)!r}", "").split())
        raise DataError(f"{file}: cannot be read as an image ({reason}); remove or replace it") from error
