"""Examples from an .npz file: arrays x and y; x_test and y_test; task and task_test. Nothing in it is executed."""

import sys

import numpy as np

from data import DataError
from data.examples import Examples
from data.strangers import one_line

NAMES = ("x", "y", "x_test", "y_test", "task", "task_test")
CHANNELS = (1, 3)


def read(path):
    """(training examples, test examples or None); DataError in one sentence."""
    found = _contents(path)
    for name in ("x", "y"):
        if name not in found:
            raise DataError(f"{path}: has no array {name}, only {', '.join(found) or 'none'}; it needs x and y")
    if ("x_test" in found) != ("y_test" in found):
        raise DataError(f"{path}: has one of x_test and y_test; give both or none")
    if "x_test" in found and ("task" in found) != ("task_test" in found):
        raise DataError(f"{path}: has x_test and one of task and task_test; give both or none")
    train = _examples(found, path, "")
    test = _examples(found, path, "_test") if "x_test" in found else None
    if test and (test.shape, test.x.shape[1]) != (train.shape, train.x.shape[1]):
        shapes = [found[name].shape[1:] for name in ("x", "x_test")]
        raise DataError(
            f"{path}: x holds images of the shape {shapes[0]} and x_test of {shapes[1]}; they need one size"
        )
    if test and test.x.dtype != train.x.dtype:
        raise DataError(f"{path}: x is {found['x'].dtype} and x_test {found['x_test'].dtype}; store both alike")
    return train, test


def _contents(path):
    """{name: array} of the arrays that are used."""
    name = None
    try:
        arrays = np.load(path, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: is one array and not an .npz file; save it with numpy.savez(path, x=x, y=y)")
        found = {}
        with arrays:
            others = [other for other in arrays.files if other not in NAMES]
            for name in (known for known in NAMES if known in arrays.files):
                found[name] = arrays[name]
                if not isinstance(found[name], np.ndarray):
                    raise DataError(f"{path}: {name} is no array of numpy; save it again")
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: {name} does not fit into memory; store fewer or smaller images") from error
    except Exception as error:  # numpy and zipfile stumble over damage in many ways
        if "pickle" in str(error):
            what = f"{name} is an array of" if name else "is no .npz file, or holds"
            raise DataError(
                f"{path}: {what} Python objects, which are never executed; store numbers or text, images all of one size"
            ) from error
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DataError(f"{path}: cannot be read as an .npz file ({reason}); save it again") from error
    if others:
        print(one_line(f"note: {path}: not used: {', '.join(others)}"), file=sys.stderr)
    return found


def _examples(found, path, suffix):
    x, shape = _images(found[f"x{suffix}"], f"{path}: x{suffix}")
    task = found.get(f"task{suffix}")
    y = _names(found[f"y{suffix}"], len(x), f"{path}: y{suffix}")
    return Examples(x, y, None if task is None else _names(task, len(x), f"{path}: task{suffix}"), shape)


def _images(x, where):
    """(x (N, n_inputs) uint8 or float32, the images' shape or None), channels first."""
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise DataError(
            f"{where} has shape {x.shape}; it must be (N, inputs), (N, rows, columns), or this with channels last or first"
        )
    shape = None
    if x.ndim == 3:
        shape = (1, *x.shape[1:])
    elif x.ndim == 4:
        if x.shape[1] not in CHANNELS:
            if x.shape[3] not in CHANNELS:
                raise DataError(f"{where} has shape {x.shape}; images have 1 or 3 channels, first or last")
            x = np.moveaxis(x, 3, 1)
        shape = x.shape[1:]
    x = x.reshape(len(x), -1)
    if x.dtype == bool:
        x = x.astype(np.uint8) * 255
    elif x.dtype.kind == "f":
        x = _floats(x, where)
    elif x.dtype != np.uint8:
        raise DataError(f"{where} is {x.dtype}; store bytes from 0 to 255 as uint8, or floats in [0, 1]")
    return np.ascontiguousarray(x), shape


def _floats(x, where):
    low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{where} holds NaN or infinity; remove it")
    if low < 0 or high > 1:
        raise DataError(
            f"{where} is {x.dtype} and ranges over [{low:g}, {high:g}] instead of [0, 1]; scale it, or store uint8"
        )
    return x.astype(np.float32)


def _names(values, n, where):
    """Labels or tasks (N,): whole numbers or text."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (n,):
        raise DataError(f"{where} has shape {values.shape} for {n} images; it must be ({n},)")
    if values.dtype.kind not in "iubUS":
        raise DataError(f"{where} is {values.dtype}; store whole numbers or text")
    return values
