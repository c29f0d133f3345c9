"""A pickle of plain values and tensors, interpreted by a machine that can neither import nor call anything.

It knows lists, tuples, dictionaries, strings, numbers and tensors. An object of torch that is none of these becomes an
`Other`; the name of anything else is refused with `Code`.
"""

import struct

import torch

from data.stored import Storage, Stored

STACK = 2**17  # values on the stack at most
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
DTYPES = {str(dtype): dtype for dtype in (*STORAGES.values(), torch.uint16, torch.uint32, torch.uint64)}
REBUILD = tuple(f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3"))  # the first: torch 0.3
MARK = object()


class Damaged(Exception):
    """The bytes are not a pickle of torch.save."""


class Code(Exception):
    """The pickle names something that it wants to be called; its text is the name."""


class Other:
    """An object of torch that is not a dense tensor."""


class _Name(str):
    """The name of a function or class in the pickle, as <module>.<name>."""

    __slots__ = ()


def value(code: bytes, storage, start: int = 0) -> tuple:
    """(the value of the pickle that begins at ``start``, the place after it).

    ``storage(key, n_bytes)`` gives the `Storage` of a tensor. ``Damaged`` or ``Code`` if there is no value.
    """
    try:
        return _run(code, storage, start)
    except (LookupError, ValueError, TypeError, struct.error, OverflowError, AttributeError) as error:
        raise Damaged from error


def _run(code, storage, at):
    stack, memo = [], {}
    push, pop, one = stack.append, stack.pop, struct.unpack_from

    def marked():
        """The values above the last mark, taken off the stack."""
        place = len(stack) - 1
        while stack[place] is not MARK:
            place -= 1
            if place < 0:
                raise Damaged
        values = stack[place + 1 :]
        del stack[place:]
        return values

    def text(width, form):
        nonlocal at
        (n,) = one(form, code, at)
        at += width + n
        if at > len(code):
            raise Damaged
        return code[at - n : at]

    while True:
        op = code[at]
        at += 1
        match op:  # the most frequent first
            case 0x71:  # BINPUT
                memo[code[at]] = stack[-1]
                at += 1
            case 0x72:  # LONG_BINPUT
                memo[one("<I", code, at)[0]] = stack[-1]
                at += 4
            case 0x6A:  # LONG_BINGET
                push(memo[one("<I", code, at)[0]])
                at += 4
            case 0x68:  # BINGET
                push(memo[code[at]])
                at += 1
            case 0x28:
                push(MARK)
            case 0x74:
                push(tuple(marked()))
            case 0x4B:  # BININT1
                push(code[at])
                at += 1
            case 0x86:  # TUPLE2
                stack[-2:] = [(stack[-2], stack[-1])]
            case 0x85:  # TUPLE1
                stack[-1] = (stack[-1],)
            case 0x52:  # REDUCE
                arguments = pop()
                stack[-1] = _object(stack[-1], arguments)
            case 0x58:  # BINUNICODE
                push(text(4, "<I").decode())
            case 0x4D:  # BININT2
                push(one("<H", code, at)[0])
                at += 2
            case 0x4A:  # BININT
                push(one("<i", code, at)[0])
                at += 4
            case 0x51:  # BINPERSID
                stack[-1] = _storage(stack[-1], storage)
            case 0x89 | 0x88:
                push(op == 0x88)
            case 0x29:
                push(())
            case 0x5D:
                push([])
            case 0x65:  # APPENDS
                values = marked()
                _of(list, stack[-1]).extend(values)
            case 0x61:  # APPEND
                last = pop()
                _of(list, stack[-1]).append(last)
            case 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            case 0x63:  # GLOBAL
                module, end = _line(code, at)
                name, at = _line(code, end)
                push(_name(module, name))
            case 0x93:  # STACK_GLOBAL
                name = pop()
                stack[-1] = _name(_of(str, stack[-1]), _of(str, name))
            case 0x8C:  # SHORT_BINUNICODE
                push(text(1, "<B").decode())
            case 0x8D:  # BINUNICODE8
                push(text(8, "<Q").decode())
            case 0x55:  # SHORT_BINSTRING, of Python 2
                push(text(1, "<B").decode("latin-1"))
            case 0x47:  # BINFLOAT
                push(one(">d", code, at)[0])
                at += 8
            case 0x8A:  # LONG1
                push(int.from_bytes(text(1, "<B"), "little", signed=True))
            case 0x4E:
                push(None)
            case 0x87:  # TUPLE3
                stack[-3:] = [tuple(stack[-3:])]
            case 0x7D:
                push({})
            case 0x75:  # SETITEMS
                values = marked()
                for key, item in zip(values[::2], values[1::2], strict=True):
                    _of(dict, stack[-1])[_key(key)] = item
            case 0x73:  # SETITEM
                item, key = pop(), pop()
                _of(dict, stack[-1])[_key(key)] = item
            case 0x80:  # PROTO
                at += 1
            case 0x95:  # FRAME
                at += 8
            case 0x2E:  # STOP
                return pop(), at
            case _:
                raise Damaged
        if len(stack) > STACK:
            raise Damaged


def _of(kind, found):
    if type(found) is not kind:
        raise Damaged
    return found


def _key(found):
    """A key of a dictionary: tuples in tuples would be hashed in time exponential in their depth."""
    if not isinstance(found, str | int | float | None):
        raise Damaged
    return found


def _line(code, at):
    end = code.index(b"\n", at)
    return code[at:end].decode(), end + 1


def _name(module, name):
    whole = f"{module}.{name}"
    if module.partition(".")[0] != "torch" and whole != "collections.OrderedDict":
        raise Code(whole)
    return _Name(whole)


def _storage(reference, storage):
    kind, name, key, _place, n = _of(tuple, reference)[:5]
    dtype = STORAGES.get(_of(_Name, name).rpartition(".")[2])
    if kind != "storage" or dtype is None or type(n) is not int or n < 0:
        raise Damaged
    return storage(_of(str, key), n * dtype.itemsize), dtype


def _object(name, arguments):
    """What a call in the pickle stands for: a tensor, an empty dictionary, or an `Other`."""
    name, arguments = _of(_Name, name), _of(tuple, arguments)
    if name == "collections.OrderedDict":
        return {}
    if name == "torch._utils._rebuild_parameter":
        return arguments[0]
    if name not in REBUILD:
        return Other()
    (place, dtype), offset, shape, strides = arguments[:4]
    if name.endswith("v3"):
        dtype = DTYPES.get(_of(_Name, arguments[6]))
        if dtype is None:
            return Other()
    end = offset + 1
    for n, stride in zip(_of(tuple, shape), _of(tuple, strides), strict=True):
        if type(n) is not int or type(stride) is not int or not 0 <= n < 2**62 or not 0 <= stride < 2**62:
            raise Damaged
        end += (n - 1) * stride
    if type(offset) is not int or offset < 0 or not isinstance(place, Storage):
        raise Damaged
    if end * dtype.itemsize > place.n_bytes and 0 not in shape:
        raise Damaged
    return Stored(place, dtype, offset, shape, strides)
