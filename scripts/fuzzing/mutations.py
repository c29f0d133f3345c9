"""Inputs made from others: bytes changed, moved, repeated and left out, numbers made extreme, words put in."""

import random
import struct

EXTREME = (0, 1, 2, 7, 127, 128, 255, 256, 32_767, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
LARGEST = 2**16  # bytes of an input


def mutated(data: bytes, other: bytes, words: tuple[bytes, ...], draw: random.Random) -> bytes:
    """`data` after some random changes, which may take pieces of `other` and of the target's `words`."""
    new = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        draw.choice(CHANGES)(new, other, words, draw)
    return bytes(new[:LARGEST])


def _flip(new, other, words, draw):
    if new:
        new[draw.randrange(len(new))] ^= 1 << draw.randrange(8)


def _byte(new, other, words, draw):
    if new:
        new[draw.randrange(len(new))] = draw.randrange(256)


def _number(new, other, words, draw):
    width, order = draw.choice("BHIQ"), draw.choice("<>")
    packed = struct.pack(order + width, draw.choice(EXTREME) % 2 ** (8 * struct.calcsize(width)))
    at = draw.randrange(len(new) + 1)
    new[at : at + len(packed)] = packed


def _leave_out(new, other, words, draw):
    at = draw.randrange(len(new) + 1)
    del new[at : at + draw.choice((1, 1, 2, 8, 64, 1_000))]


def _cut(new, other, words, draw):
    del new[draw.randrange(len(new) + 1) :]


def _repeat(new, other, words, draw):
    at, n = draw.randrange(len(new) + 1), draw.choice((1, 2, 4, 16, 100))
    new[at:at] = new[at : at + n] * draw.choice((1, 2, 10, 100))


def _word(new, other, words, draw):
    at = draw.randrange(len(new) + 1)
    word = draw.choice(words) if words else bytes(draw.randrange(256) for _ in range(4))
    new[at : at + draw.choice((0, len(word)))] = word


def _piece(new, other, words, draw):
    start, at = draw.randrange(len(other) + 1), draw.randrange(len(new) + 1)
    n = draw.choice((1, 4, 16, 64, 256))
    new[at : at + draw.choice((0, n))] = other[start : start + n]


CHANGES = (_flip, _byte, _number, _leave_out, _cut, _repeat, _word, _word, _piece)
