"""Raw images as uint8 tensors: their files are found on this machine or downloaded, and verified.

Files are looked for in the folder that the user names, in $CL_DATA_HOME, in data/raw/, and where Debian's package
`dataset-fashion-mnist` installs Fashion-MNIST. In each of these the data set's own sub-folder comes first.
A file may be plain or compressed with gzip or xz. Its decompressed content is verified.
"""

import contextlib
import gzip
import hashlib
import io
import lzma
import math
import os
import sys
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch

from data import DataError, temporary

RAW = Path(__file__).resolve().parent / "raw"


@dataclass(frozen=True)
class RawSet:
    """One data set: its title, sub-folder, {file: SHA-256 of the decompressed content} in the order train
    (images, labels), test (images, labels), base URLs of mirrors, the suffix or tar archive they offer,
    and folders of this machine where a package installs it."""

    title: str
    folder: str
    files: dict
    mirrors: tuple
    suffix: str = ".gz"
    archive: str | None = None
    installed: tuple = ()


RAW_SETS = {
    "mnist": RawSet(
        title="MNIST",
        folder="mnist",
        files={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "fashion_mnist": RawSet(
        title="Fashion-MNIST",
        folder="fashion-mnist",
        files={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        installed=(Path("/usr/share/datasets/fashion-mnist"),),
    ),
    "cifar100": RawSet(
        title="CIFAR-100",
        folder="cifar-100-binary",
        files={
            "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
            "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
        },
        mirrors=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://web.archive.org/web/2024id_/https://www.cs.toronto.edu/~kriz/",
        ),
        suffix="",
        archive="cifar-100-binary.tar.gz",
    ),
    "omniglot": RawSet(
        title="Omniglot",
        folder="omniglot",
        files={
            "images_background.npz": "8bf84167413cd00beacdce3fe582f780ab538d8dbef043a6d688f2527bbce199",
            "images_evaluation.npz": "0b84c7ffd94c4841c0040e529c86a82eaaccb986d8eadad5673f7991b7475276",
        },
        mirrors=("https://raw.githubusercontent.com/bitsandscraps/omniglot/b0481240b7eb42393285a93ce7d2f266ff10c62b/",),
        suffix="",
    ),
}

LARGEST = 200_000_000  # bytes; every raw file, decompressed, is smaller
DICTIONARY = 2**27  # bytes that unpacking an xz file may take; `xz -9` needs 65 MB
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError)

# Pixel value of the brightest pixel a format can hold.
WHITE = {"mnist": 255, "fashion_mnist": 255, "cifar100": 255, "omniglot": 255, "digits": 16}

# scikit-learn's digits: shuffled once with numpy's legacy generator, seed 0; the first 1,297 for training.
N_DIGITS, N_DIGITS_TRAIN = 1797, 1297


def images(name, raw_path=None):
    """((x_train, y_train), (x_test, y_test)) of "mnist", "fashion_mnist", "cifar100" or "digits".

    x is (N, pixels) uint8 with values up to WHITE[name], CIFAR-100's in the order channel, row, column;
    y is (N,) int64, CIFAR-100's the fine labels. DataError if the raw files can be neither found nor
    downloaded.
    """
    if name == "digits":
        return _digits()
    if name == "cifar100":
        return tuple((x, y) for x, y, _ in cifar100(raw_path))
    parsed = [_idx(content, file) for file, content in read_files(name, raw_path).items()]
    return tuple((x.reshape(len(x), -1), y.long()) for x, y in (parsed[:2], parsed[2:]))


def cifar100(raw_path=None):
    """Training and test images of CIFAR-100, each (x (N, 3072) uint8, fine labels (N,), coarse labels (N,) int64)."""
    return tuple(_cifar100(content, file) for file, content in read_files("cifar100", raw_path).items())


def omniglot(raw_path=None):
    """The drawings of Omniglot's background set, then those of its evaluation set: (characters, 20, 105, 105) bool, True
    where the paper is white. Characters are in the order of the original's file numbers, drawings in that of the drawers."""
    for content in read_files("omniglot", raw_path).values():
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            yield arrays["images"]


def read_files(name, raw_path=None):
    """{file: decompressed, verified content} of a data set; what is missing is downloaded into data/raw/."""
    raw_set = RAW_SETS[name]
    folders = search_path(raw_set, raw_path)
    contents = {file: _find(raw_set, file, folders) for file in raw_set.files}
    missing = [file for file, content in contents.items() if content is None]
    if missing:
        contents.update(_download(raw_set, missing, folders))
    return contents


def search_path(raw_set, raw_path=None):
    """The folders a data set is looked for in, in this order."""
    roots = [raw_path, os.environ.get("CL_DATA_HOME"), RAW]
    folders = [folder for root in roots if root for folder in (Path(root) / raw_set.folder, Path(root))]
    return list(dict.fromkeys([*folders, *raw_set.installed]))


# -- finding and downloading -----------------------------------------------------------------------------


def _find(raw_set, file, folders):
    """Verified content of `file` from the first folder that has it; None if no folder does."""
    for folder in folders:
        candidates = [folder / f"{file}{suffix}" for suffix in ("", ".gz", ".xz")]
        if raw_set.archive:
            candidates.append(folder / raw_set.archive)
        for candidate in candidates:
            try:
                if not candidate.is_file():
                    continue
                content = _decompressed(candidate, raw_set, file)
            except _UNREADABLE as error:
                print(f"{candidate}: skipped, cannot be read ({error})", file=sys.stderr)
                continue
            if _verified(raw_set, file, content):
                return content
            print(f"{candidate}: skipped, not the original {raw_set.title} file", file=sys.stderr)
    return None


def _decompressed(path, raw_set, file, name=None):
    """The content of `file`, plain, compressed or in the archive at `path`; nothing is written anywhere.

    `name` says by its suffix how the file is packed, where that of `path` does not.
    One of _UNREADABLE if there is none, or if it is larger than any raw file: bombs are not unpacked.
    """
    name = Path(name or path.name)
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(path, "rb"))
        if name.name == raw_set.archive:
            # As a stream: the tar module may not go back, and what it reads in all is bounded.
            unpacked = _Bounded(stack.enter_context(gzip.open(stream)), 2 * LARGEST)
            archive = stack.enter_context(tarfile.open(fileobj=unpacked, mode="r|"))
            for member in archive:
                if member.name == f"{raw_set.folder}/{file}" and member.isreg():
                    return _Bounded(archive.extractfile(member), LARGEST).read()
            raise tarfile.TarError(f"no file {raw_set.folder}/{file} in it")
        if name.suffix == ".gz":
            stream = stack.enter_context(gzip.open(stream))
        content = _Bounded(stream, LARGEST).read()
    return _unxz(content) if name.suffix == ".xz" else content


def _unxz(packed):
    """The content of an xz file. Its header may ask for a dictionary of 4 GB, which is refused."""
    content = b""
    while packed and len(content) <= LARGEST:
        unpacker = lzma.LZMADecompressor(memlimit=DICTIONARY)
        content += unpacker.decompress(packed, LARGEST + 1 - len(content))
        if not unpacker.eof and len(content) <= LARGEST:
            raise EOFError("it ends too early")
        packed = unpacker.unused_data
    if len(content) > LARGEST:
        raise OSError("larger than the original")
    return content


class _Bounded:
    """The first `limit` bytes of a stream; OSError if there are more."""

    def __init__(self, stream, limit):
        self.stream, self.left = stream, limit

    def read(self, n=-1):
        wanted = self.left + 1 if n < 0 else min(n, self.left + 1)
        parts = []
        while wanted and (part := self.stream.read(min(wanted, 2**20))):
            parts.append(part)
            wanted -= len(part)
            self.left -= len(part)
        if self.left < 0:
            raise OSError("larger than the original")
        return b"".join(parts)


def _verified(raw_set, file, content):
    return hashlib.sha256(content).hexdigest() == raw_set.files[file]


def _download(raw_set, missing, folders):
    """{file: content} for the missing files, from the first mirror that has them."""
    failures = []
    try:
        import pooch
    except ImportError:
        failures.append("pooch is not installed")
    else:
        pooch.get_logger().setLevel("ERROR")
        for mirror in raw_set.mirrors:
            try:
                return _fetch(pooch, raw_set, mirror, missing)
            except Exception as error:  # a mirror fails in many ways, and the next one may work
                failures.append(f"{urlsplit(mirror).netloc}: {type(error).__name__}")
    looked = ", ".join(str(folder) for folder in folders)
    raise DataError(
        f"{raw_set.title}'s raw files {', '.join(missing)} are missing: looked for (also as .gz and .xz) in "
        f"{looked}; downloading them failed ({'; '.join(failures)}); copy them into one of these "
        f"folders, or use --data_file digits_permutations.pt, which needs none"
    )


def _fetch(pooch, raw_set, mirror, files):
    """{file: content} from one mirror. Verified downloads are kept in data/raw/."""
    folder = RAW / raw_set.folder
    temporary.make_folder(folder)
    temporary.remove_left_over(folder)
    tty = sys.stderr.isatty()
    contents = {}
    for name in [raw_set.archive] if raw_set.archive else [file + raw_set.suffix for file in files]:
        if tty:
            print(f"downloading {mirror}{name}", file=sys.stderr)
        with temporary.replacing(folder / name) as (fetched,):
            pooch.HTTPDownloader(progressbar=tty, timeout=(5, 30))(mirror + name, fetched, None)
            fetched.flush()
            for file in files if raw_set.archive else [name.removesuffix(raw_set.suffix)]:
                contents[file] = _decompressed(fetched.name, raw_set, file, name)
                if not _verified(raw_set, file, contents[file]):
                    raise ValueError("not the original file")
    return contents


# -- formats ---------------------------------------------------------------------------------------------


def _idx(content, file):
    """uint8 tensor of an IDX file: two zero bytes, type 8 (uint8), rank, the sizes big-endian, the values."""
    rank = content[3] if len(content) > 3 else 0
    header = 4 + 4 * rank
    if content[:3] != b"\0\0\x08" or not 1 <= rank <= 4 or len(content) < header:
        raise DataError(f"{file}: is not an IDX file of bytes")
    shape = np.frombuffer(content, ">u4", rank, 4).astype(int).tolist()
    if 0 in shape or len(content) - header != math.prod(shape):
        raise DataError(f"{file}: has {len(content) - header} values, its header announces {shape}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).copy()).reshape(shape)


def _cifar100(content, file):
    """((N, 3072) uint8, fine labels (N,), coarse labels (N,)) of records of bytes: coarse label, fine label, pixels."""
    if not content or len(content) % 3074:
        raise DataError(f"{file}: {len(content)} bytes are no whole number of CIFAR-100 records of 3074")
    records = torch.from_numpy(np.frombuffer(content, np.uint8).copy()).reshape(-1, 3074)
    return records[:, 2:], records[:, 1].long(), records[:, 0].long()


def _digits():
    """scikit-learn's digits (64 pixels of 0 to 16), shuffled once: 1,297 for training, 500 for test."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("the digits come with scikit-learn: pip install scikit-learn") from error
    digits = load_digits()
    order = np.random.RandomState(0).permutation(N_DIGITS)
    x = torch.from_numpy(digits.data[order].astype(np.uint8))
    y = torch.from_numpy(digits.target[order].astype(np.int64))
    return (x[:N_DIGITS_TRAIN], y[:N_DIGITS_TRAIN]), (x[N_DIGITS_TRAIN:], y[N_DIGITS_TRAIN:])
