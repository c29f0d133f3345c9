"""Omniglot by alphabets: a task is one of the 50 alphabets, and its classes are the alphabet's 14 to 55 characters.

Each character was drawn by 20 people. The drawings of the first 15 are for training, those of the last five are the test
set. Examples are ordered by drawer, then by character, so that the first N have all characters. The label of a character is
its number among all 1,623, so that each task has outputs of its own. The tasks come in the order of the original's file
numbers: the 30 alphabets of the background set, then the 20 of the evaluation set. The description is the alphabet's name.

A drawing of 105 x 105 pixels becomes one of 28 x 28 bytes by averaging areas, with white ink on black as in MNIST.
"""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from data import DataError, building, files, sources, streams

SIDE, DRAWN, N_TRAIN = 28, 105, 15
# The alphabets and how many characters each has, in the order of the original's file numbers 0001 to 1623.
ALPHABETS = {
    "Arcadian": 26,
    "Armenian": 41,
    "Asomtavruli_(Georgian)": 40,
    "Balinese": 24,
    "Bengali": 46,
    "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
    "Braille": 26,
    "Cyrillic": 33,
    "Early_Aramaic": 22,
    "Syriac_(Estrangelo)": 23,
    "Anglo-Saxon_Futhorc": 29,
    "Futurama": 26,
    "Grantha": 43,
    "Greek": 24,
    "Gujarati": 48,
    "Hebrew": 22,
    "Japanese_(hiragana)": 52,
    "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
    "Malay_(Jawi_-_Arabic)": 40,
    "Japanese_(katakana)": 47,
    "Korean": 40,
    "Latin": 26,
    "Alphabet_of_the_Magi": 20,
    "Mkhedruli_(Georgian)": 41,
    "Burmese_(Myanmar)": 34,
    "N_Ko": 33,
    "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
    "Sanskrit": 42,
    "Tagalog": 17,
    "Tifinagh": 55,
    "Angelic": 20,
    "Atemayar_Qelisayer": 26,
    "Atlantean": 26,
    "Aurek-Besh": 26,
    "Avesta": 26,
    "Ge_ez": 26,
    "Glagolitic": 45,
    "Gurmukhi": 45,
    "Kannada": 41,
    "Keble": 26,
    "Malayalam": 47,
    "Manipuri": 40,
    "Mongolian": 30,
    "Old_Church_Slavonic_(Cyrillic)": 45,
    "Oriya": 46,
    "Syriac_(Serto)": 23,
    "Sylheti": 28,
    "Tengwar": 25,
    "Tibetan": 42,
    "ULOG": 26,
}


def build(out, n_tasks=50, seed=0, raw_path=None, n_train=None, n_test=None, dtype=None):
    """Write the data file `out` with the first n_tasks alphabets, x being (N, 784).

    Nothing is drawn: `seed` is accepted as by all builders. DataError if n_tasks is not from 1 to 50 or the raw files
    are missing.
    """
    streams.check(n_tasks, seed)
    if n_tasks > len(ALPHABETS):
        raise DataError(f"n_tasks {n_tasks}: Omniglot has {len(ALPHABETS)} alphabets")
    files.check_target(out)
    form, _ = building.pixel_form("omniglot", dtype)
    drawings, first = np.concatenate([shrunk(part) for part in sources.omniglot(raw_path)]), 0
    tasks = [[], []]
    for name, count in building.progress(list(ALPHABETS.items())[:n_tasks], out):
        own, labels = drawings[first : first + count], torch.arange(first, first + count)
        first += count
        for split, part, n in zip(tasks, (own[:, :N_TRAIN], own[:, N_TRAIN:]), (n_train, n_test), strict=True):
            x = torch.from_numpy(part.swapaxes(0, 1).reshape(-1, SIDE * SIDE))
            n = building.limit(n, len(x))
            split.append((name, form(x[:n]), labels.repeat(part.shape[1])[:n]))
    files.save(out, *tasks)


def shrunk(drawings):
    """Drawings (characters, 20, 105, 105), True where the paper is white, as bytes (characters, 20, 784).

    A byte is the share of its pixel's area that is ink, 255 for all of it. 105 / 28 is 3.75, so that all sums are whole
    numbers if areas are counted in sixteenths of a pixel of the drawing.
    """
    quarters = np.arange(4 * DRAWN)
    overlap = np.zeros((SIDE, DRAWN), dtype=np.float32)  # in quarters of a pixel; sums up to 225 are exact
    np.add.at(overlap, (quarters * SIDE // (4 * DRAWN), quarters // 4), 1)
    area = (4 * DRAWN // SIDE) ** 2
    small = np.empty((*drawings.shape[:2], SIDE * SIDE), dtype=np.uint8)
    for character, bytes_ in zip(drawings, small, strict=True):
        ink = (overlap @ (~character).astype(np.float32) @ overlap.T).astype(np.int64)
        bytes_[:] = ((2 * 255 * ink + area) // (2 * area)).reshape(len(character), -1)
    return small


if __name__ == "__main__":
    sys.exit(building.main(build, "omniglot_alphabets.pt"))
