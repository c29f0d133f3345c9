"""Five domains of text from this Python installation, or folders that you name, for masked language models."""

import ast
import hashlib
import platform
import sys
import sysconfig
from collections import Counter
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from data import DataError, building, files, tokens

SAMPLED = 2**12  # characters of a file that are looked at to tell text, mostly letters, from tables of numbers
LARGEST = 2**21  # bytes of a source file; larger ones are data rather than text
SHARE = 20  # no file gives more than a 20th of its domain's training text
FAMILIES = 8  # classes of a domain: its most frequent packages or folders; the last class holds all others
NETWORK = ("asyncio/*", "email/**/*", "http/*", "urllib/*", "xmlrpc/*", "wsgiref/*", "socket*", "ssl", "ftplib", "smtp*",
           "imaplib", "poplib", "nntplib", "telnetlib", "selectors")  # fmt: skip
DESCRIBED = ("tkinter/**/*", "idlelib/**/*", "distutils/**/*", "lib2to3/**/*", "multiprocessing/*", "ctypes/**/*",
             "concurrent/**/*", "unittest/*", "logging/*", "importlib/**/*", "[s-z]*")  # fmt: skip
DOMAINS = ("network", "encodings", "docstrings", "tests", "licences")  # of an installation
ELSEWHERE = ("site-packages", "dist-packages", "__pycache__", "test", "tests", "encodings", "pydoc_data")


def build(out, seed=0, raw_path=None, n_train=4000, n_test=500, n_general=20_000, length=64, test_files=5, folders=None,
          vocabulary=None, tokenizer=None):  # fmt: skip
    """Write the data file `out`. DataError if an argument is out of range, or there is too little text.

    ``n_train`` and ``n_test`` are the sequences of a domain, of ``length`` tokens each, ``n_general`` those of text that
    belongs to no domain. A domain's test text comes from ``test_files`` files at least, but from no more than a quarter of
    its files. ``folders`` are two paths or more, separated by commas: the first holds general text, each other one a domain.
    A token is a byte, or one of ``vocabulary`` tokens that the library `tokenizers` finds in the general text, or one of a
    ``tokenizer`` of `transformers`, by name or folder.
    """
    for name, value, least in (
        ("n_train", n_train, 1),
        ("n_test", n_test, 1),
        ("n_general", n_general, 1),
        ("length", length, 2),
        ("test_files", test_files, 1),
    ):
        if value < least:
            raise DataError(f"--{name} {value}: give {least} or more")
    if length > tokens.LENGTH:
        raise DataError(f"--length {length}: give {tokens.LENGTH} or less")
    if not 0 <= seed < 2**32:
        raise DataError(f"--seed {seed}: must be from 0 to 2^32 - 1")
    domains = named(folders) if folders else installed()
    generator = torch.Generator().manual_seed(seed)
    kept = {name: shuffled(documents, generator) for name, documents in domains.items()}
    general = kept.pop("general")
    words, mask, encode = theirs(tokenizer) if tokenizer else alphabet(vocabulary, (text for _, text in general))
    train, test, shown = [], [], []
    for name, documents in building.progress(kept.items(), out):
        held, rest = split(documents, encode, n_test, length, test_files)
        x_test, y_test = sequences(held, encode, n_test, length, test_files)
        x, y = sequences(rest, encode, n_train, length, SHARE)
        if not len(x) or not len(x_test):
            raise DataError(f"{out}: the domain {name!r} has too little text; name folders with more (--folders)")
        seen = {bytes(row.numpy()) for row in x}
        new = torch.tensor([bytes(row.numpy()) not in seen for row in x_test])
        x_test, y_test = x_test[new], [family for family, is_new in zip(y_test, new.tolist(), strict=True) if is_new]
        if not len(x_test):
            raise DataError(f"{out}: all held-out text of the domain {name!r} is in its training text too")
        number = classes(y)
        train.append([name, x, labels(y, number)])
        test.append([name, x_test, labels(y_test, number)])
        shown.append(tokens.choose(x_test, mask, len(words), generator).to(x.dtype))
    x, _ = sequences(general, encode, n_general, length, 100)
    if not len(x):
        raise DataError(f"{out}: there is too little general text; name folders with more (--folders)")
    version = "" if folders else platform.python_version()
    files.save(out, train, test, tokens.Text(tuple(words), mask, version, x, tuple(shown)))


# -- which text ------------------------------------------------------------------------------------------


def installed():
    """{domain: [(family, text)]} of this installation: five domains, and "general", what is left of the library's source."""
    library = Path(sysconfig.get_path("stdlib"))
    packages = Path(sysconfig.get_path("purelib"))
    sources = {
        path: str(path.relative_to(library)) for path in sorted(library.rglob("*.py")) if not _elsewhere(path, library)
    }

    def chosen(patterns):
        found = {path for pattern in patterns for path in library.glob(f"{pattern}.py")}
        return [path for path in sources if path in found]

    network = chosen(NETWORK)
    described = [path for path in chosen(DESCRIBED) if path not in set(network)]
    tests = [*library.glob("test/**/*.py")] or [*packages.glob("**/tests/**/*.py")]
    texts = [path for end in ("txt", "md", "rst") for path in packages.glob(f"**/*.{end}")]
    texts += [path for word in ("LICENSE", "COPYING", "NOTICE", "AUTHORS") for path in packages.glob(f"**/{word}*")]
    taken = {*network, *described}
    in_the_library = bool(tests) and library in tests[0].parents
    domains = (
        read(network, library),
        read(library.glob("encodings/*.py"), library, family=lambda path: path.stem[:3]),
        [(family, docs) for family, source in read(described, library) if (docs := docstrings(source))],
        read(tests, library if in_the_library else packages, family=lambda path: path.stem[:6]),
        read((path for path in texts if path.is_file()), packages),
    )
    general = read((path for path in sources if path not in taken), library)
    return {**dict(zip(DOMAINS, domains, strict=True)), "general": general}


def _elsewhere(path, library):
    return any(part in ELSEWHERE for part in path.relative_to(library).parts)


def named(folders):
    """As `installed`, of folders that the user names: the first is general text. DataError if one is no folder."""
    paths = [Path(name) for name in folders.split(",")]
    if len(paths) < 2:
        raise DataError(f"--folders {folders}: name two or more, separated by commas; the first holds general text")
    found = {}
    for path, name in zip(paths, ["general", *(path.name for path in paths[1:])], strict=True):
        if not path.is_dir():
            raise DataError(f"--folders {path}: is not a folder")
        if name in found:
            raise DataError(f"--folders {path}: a second domain {name!r}; give each folder a name of its own")
        found[name] = read((file for file in path.rglob("*") if file.is_file()), path)
    return found


def read(paths, root, family=None):
    """[(family, text)] of the files that are UTF-8 and mostly letters, in the order of their names; of equal ones the first.

    A file's family is the first folder below `root`, or its own name.
    """
    found, known = [], set()
    for path in sorted(set(paths)):
        try:
            if path.stat().st_size > LARGEST:
                continue
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        digest = hashlib.sha256("".join(text.split()).encode()).digest()
        letters = sum(map(str.isalpha, text[:SAMPLED]))
        if 2 * letters > min(len(text), SAMPLED) and digest not in known:
            known.add(digest)
            found.append((family(path) if family else path.relative_to(root).parts[0], text))
    return found


def docstrings(source):
    """All docstrings of a module's source, one after another; "" if it has none or is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return "\n\n".join(doc for node in ast.walk(tree) if isinstance(node, owners) and (doc := ast.get_docstring(node)))


# -- tokens and sequences --------------------------------------------------------------------------------


def alphabet(n, texts):
    """(the tokens' names, the id of the mask, a function from text to ids): bytes, or a vocabulary of n trained on `texts`."""
    if n is None:
        return (
            [chr(byte) for byte in range(256)] + ["<mask>"],
            256,
            lambda text: torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).to(torch.int16),
        )
    if not 300 <= n <= 2**15:
        raise DataError(f"--vocabulary {n}: give 300 to {2**15}, or leave it out for bytes")
    try:
        from tokenizers import ByteLevelBPETokenizer
    except ImportError as error:
        raise DataError(
            "--vocabulary: needs the library tokenizers: pip install tokenizers; bytes need none"
        ) from error
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=n, min_frequency=2, special_tokens=["<mask>"], show_progress=False)
    words = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    return words, 0, lambda text: torch.tensor(trained.encode(text).ids, dtype=torch.int16)


def theirs(name):
    """As `alphabet`, of a tokenizer of `transformers`."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise DataError(
            "--tokenizer: needs the library transformers: pip install transformers; bytes need none"
        ) from error
    try:
        found = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise DataError(f"--tokenizer {name}: cannot be loaded ({' '.join(str(error).split())[:200]})") from error
    if found.mask_token_id is None:
        raise DataError(f"--tokenizer {name}: has no mask; give that of a masked language model")
    words = found.convert_ids_to_tokens(range(len(found)))
    return (
        words,
        found.mask_token_id,
        lambda text: torch.tensor(found(text, add_special_tokens=False)["input_ids"], dtype=torch.int32),
    )


def shuffled(documents, generator):
    """The documents in an order drawn from the generator."""
    return [documents[i] for i in torch.randperm(len(documents), generator=generator).tolist()]


def split(documents, encode, n, length, share):
    """(held-out documents, the others): as many as give n sequences, each n / share at most; no more than a quarter."""
    held, left = [], n
    for document in documents[: len(documents) // 4 or 1]:
        if left <= 0:
            break
        held.append(document)
        left -= min(len(encode(document[1])) // length, max(1, n // share))
    return held, documents[len(held) :]


def sequences(documents, encode, n, length, share):
    """(x (m, length), m families): the first m <= n sequences of the documents, none of which gives more than n / share.

    What documents of that many sequences leave is filled with the rest of them.
    """
    most, parts, rests, missing = max(1, n // share), [], [], n
    for family, text in documents:
        if missing <= 0:
            break
        ids = encode(text)
        ids = ids[: len(ids) // length * length].view(-1, length)
        parts.append((family, ids[:most]))
        rests.append((family, ids[most:]))
        missing -= min(len(ids), most)
    x = torch.cat([ids for _, ids in parts + rests]) if parts else torch.empty(0, length)
    families = [family for family, ids in parts + rests for _ in range(len(ids))]
    return x[:n].clone(), families[:n]


def classes(families):
    """{family: its class} of the most frequent families."""
    times = Counter(families)
    frequent = sorted(times, key=lambda family: (-times[family], family))
    return {family: i for i, family in enumerate(frequent[: FAMILIES - 1])}


def labels(families, number):
    """The class (N,) of each sequence's family; the last one for those that have no number."""
    return torch.tensor([number.get(family, FAMILIES - 1) for family in families])


if __name__ == "__main__":
    sys.exit(building.main(build, "text_domains.pt"))
