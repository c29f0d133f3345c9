"""Text in data files: what is declared, every bad declaration, masks, identity; and the builder of domains."""

import sys

import pytest
import torch

from data import DataError, files, text_domains, tokens
from model import das
from tests.conftest import MASK, N_TOKENS, ids, text_file


@pytest.fixture
def path(tmp_path):
    text_file(tmp_path / "text.pt")
    return tmp_path / "text.pt"


def changed(path, change):
    """Write the file anew after ``change(train, test, declared)``; the path."""
    content = torch.load(path, weights_only=True)
    change(*content)
    torch.save(content, path)
    return path


# -- reading ---------------------------------------------------------------------------------------------


def test_what_was_saved_is_read(path):
    file = files.load(path)
    assert file.text.vocabulary == ("a", "b", "c", "<mask>") and file.text.mask == MASK and not file.bytes
    assert torch.equal(file.train[1][1], ids(40, seed=2)) and torch.equal(file.text.general, ids(60, seed=9))
    assert [x.shape for x in file.text.shown] == [(40, 12), (40, 12)]
    assert files.examine(path).hash == file.hash  # as remembered


def test_the_identity_is_that_of_ids_and_declaration(path):
    first = files.load(path).hash

    def smaller(train, test, declared):
        for task in (*train, *test):
            task[1] = task[1].to(torch.uint8)
        declared["general"] = declared["general"].to(torch.int16)

    assert files.load(changed(path, smaller)).hash == first
    seen = {first}
    for name, value in (
        ("python", "3.99"),
        ("vocabulary", ["a", "b", "d", "<mask>"]),
        ("mask", 2),
        ("general", ids(60, seed=8)),
    ):
        seen.add(files.load(changed(path, lambda a, b, declared, n=name, v=value: declared.__setitem__(n, v))).hash)
    changed(path, lambda a, b, declared: declared["shown"][0].__setitem__((0, slice(0, 2)), 1))
    assert len({*seen, files.load(path).hash}) == 6


BAD = {
    "kind": ("sound", "declares the kind 'sound', and only 'text' is known"),
    "vocabulary": ([1, 2, 3], "its vocabulary is not a list of texts, one a token"),
    "vocabulary short": (["a"], "its vocabulary has 1 tokens; from 2 to 65,536 are taken"),
    "vocabulary small": (["a", "b"], "its mask is 3, not a token from 0 to 1"),
    "mask": (True, "its mask is True, not a token from 0 to 3"),
    "python": (3, "its python is not the version of an installation, a short text"),
    "shown": ([], "shows masked text for 0 test tasks, but holds 2"),
    "shown none": (None, "its shown is not a list of tensors, one a test task"),
    "general": ("words", "general is not a dense tensor but str"),
    "general floats": (torch.rand(3, 12), "general is torch.float32; store it as torch.uint8"),
    "general width": (ids(5, 9), r"general has shape (5, 9); it must be (M, 12)"),
    "general empty": (ids(0), r"general has shape (0, 12); it must be (M, 12)"),
    "general ids": (ids(5) + N_TOKENS, "general: holds the token 6, and the vocabulary goes from 0 to 3"),
    "general huge": (torch.zeros(1, 12, dtype=torch.long).expand(10**9, 12), "more than 100 times the file"),
    "shown shape": ([ids(40), ids(39)], r"shown 1 has shape (39, 12); it must be (40, 12)"),
    "shown unsigned": ([ids(40), ids(40).byte()], "shown 1 is torch.uint8; store it as torch.int16"),
    "shown ids": ([ids(40), ids(40) - 2], "shown 1: holds the token -2, and the vocabulary goes from -1 to 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_declaration_is_one_sentence(case, path):
    value, sentence = BAD[case]
    changed(path, lambda train, test, declared: declared.__setitem__(case.split()[0], value))
    with pytest.raises(DataError) as caught:
        files.load(path)
    assert str(caught.value).startswith(f"{path}: ") and sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda train, test, declared: declared.pop("mask"), "declares text without mask"),
        (lambda train, test, declared: train[0].__setitem__(1, torch.rand(40, 12)), "store the ids of tokens as uint8"),
        (lambda train, test, declared: train[1].__setitem__(1, ids(40) + 2), "training task 1: holds the token 4"),
        (lambda train, test, declared: train[0].__setitem__(1, ids(40) - 1), "training task 0: holds the token -1"),
    ],
)
def test_bad_text_is_one_sentence(change, sentence, path):
    with pytest.raises(DataError, match=sentence):
        files.load(changed(path, change))


def test_sequences_that_attention_cannot_hold_are_refused(tmp_path):
    x = torch.zeros(1, tokens.LENGTH + 1, dtype=torch.uint8)
    declared = tokens.Text(("a", "b"), 1, "", x, (x.short(),))
    with pytest.raises(DataError, match="sequences of 4,097 tokens; 4,096 at most are taken"):
        files.save(tmp_path / "long.pt", [["", x, torch.zeros(1).long()]], [["", x, torch.zeros(1).long()]], declared)


# -- masks -----------------------------------------------------------------------------------------------


def test_masks_are_those_of_bert():
    """15 % of each sequence are to be told; of these 80 % show the mask, 10 % a random token, 10 % themselves."""
    x = torch.randint(3, 100, (4000, 40), generator=torch.Generator().manual_seed(0))
    shown = tokens.choose(x, 0, 100, torch.Generator().manual_seed(1))
    seen, y = tokens.masked(x, shown)
    chosen = y != tokens.IGNORED
    assert (
        bool((chosen.sum(1) == 6).all())
        and torch.equal(y[chosen], x[chosen])
        and torch.equal(seen[~chosen], x[~chosen])
    )
    at = seen[chosen]
    assert float((at == 0).float().mean()) == pytest.approx(0.801, abs=0.01)  # a random token may be the mask
    assert float((at == x[chosen]).float().mean()) == pytest.approx(0.101, abs=0.01)
    assert torch.equal(das.unmasked(seen, y), x)
    assert bool(((tokens.choose(x[:, :2], 0, 100, torch.Generator()) != tokens.KEPT).sum(1) == 1).all())  # never none


# -- the builder -----------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    """Three folders with four files each, whose texts differ."""
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()
    for d, name in enumerate(("general", "one", "two")):
        for f in range(4):
            file = tmp_path / name / f"part{f % 2}" / f"{f}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(" ".join(words[(i * (d + 2) + f * i // 3) % 10] for i in range(200)))
    return ",".join(str(tmp_path / name) for name in ("general", "one", "two"))


def test_folders_become_domains_split_by_file(folders, tmp_path):
    out = tmp_path / "own.pt"
    text_domains.build(out, folders=folders, n_train=30, n_test=6, n_general=20, length=16)
    file = files.load(out)
    assert [name for name, _, _ in file.train] == ["one", "two"] and file.text.python == ""
    assert file.text.vocabulary[65] == "A" and file.text.mask == 256
    for name, x, y in (*file.train, *file.test):
        texts = {path: path.read_text() for path in (tmp_path / name).rglob("*.txt")}
        sources = {path for row in x for path, text in texts.items() if bytes(row.tolist()).decode() in text}
        assert x.shape[1] == 16 and set(y.tolist()) <= {0, 1} and sources
    train, test = ({bytes(row.tolist()) for row in tasks[0][1]} for tasks in (file.train, file.test))
    assert not train & test
    again = tmp_path / "again.pt"
    text_domains.build(again, folders=folders, n_train=30, n_test=6, n_general=20, length=16)
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"folders": "nowhere"}, "--folders nowhere: name two or more"),
        ({"folders": "nowhere,/tmp"}, "--folders nowhere: is not a folder"),
        ({"length": 1}, "--length 1: give 2 or more"),
        ({"length": 5000}, "--length 5000: give 4096 or less"),
        ({"n_train": 0}, "--n_train 0: give 1 or more"),
        ({"seed": -1}, "--seed -1: must be from 0"),
        ({"vocabulary": 7}, "--vocabulary 7: give 300 to 32768"),
        ({"length": 4000}, "too little text; name folders with more"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(given, sentence, folders, tmp_path):
    with pytest.raises(DataError, match=sentence):
        text_domains.build(tmp_path / "own.pt", **{"folders": folders, "n_train": 30, "n_test": 6, **given})
    assert not (tmp_path / "own.pt").exists()


def test_a_vocabulary_without_its_library_is_one_sentence(folders, tmp_path, hide):
    hide("tokenizers")
    with pytest.raises(DataError, match="needs the library tokenizers: pip install tokenizers; bytes need none"):
        text_domains.build(tmp_path / "own.pt", folders=folders, vocabulary=300)


def test_a_trained_vocabulary(folders, tmp_path):
    pytest.importorskip("tokenizers", reason="the optional library tokenizers is not installed")
    text_domains.build(tmp_path / "own.pt", folders=folders, vocabulary=300, n_train=9, n_test=3, length=8)
    text = files.load(tmp_path / "own.pt").text
    assert 256 < len(text.vocabulary) <= 300 and text.vocabulary[text.mask] == "<mask>"


def test_docstrings_and_families():
    source = 'class A:\n    """Of a class."""\n    def f(self):\n        """Of a function."""\n        return 1\n'
    assert text_domains.docstrings(source) == "Of a class.\n\nOf a function."
    assert text_domains.docstrings("def f(:") == "" == text_domains.docstrings("x = 1")

    class Families(list):
        def count(self, family):
            raise AssertionError("looks through all families for each")

    number = text_domains.classes(Families(["b", "a", "b", *"cdefghijk"]))
    assert number == {name: i for i, name in enumerate("bacdefg")}
    assert text_domains.labels(["b", "z"], number).tolist() == [0, 7]


@pytest.mark.parametrize(("asked", "given"), [(2, 2), (5, 5), (20, 6)])
def test_held_out_text_comes_from_as_many_files_as_asked_or_a_quarter(asked, given):
    documents = [(letter, letter * 200) for letter in "abcdefghijklmnopqrstuvwxyz"]
    _, _, encode = text_domains.alphabet(None, ())
    held, rest = text_domains.split(documents, encode, 20, 10, asked)
    x, families = text_domains.sequences(held, encode, 20, 10, asked)
    assert held + rest == documents and len(held) == given and len(x) == 20
    assert set(families) == {letter for letter, _ in held}


@pytest.mark.slow
def test_the_domains_of_this_installation(tmp_path):
    text_domains.build(tmp_path / "text_domains.pt", n_train=200, n_test=50, n_general=300)
    file = files.load(tmp_path / "text_domains.pt")
    assert [name for name, _, _ in file.train] == ["network", "encodings", "docstrings", "tests", "licences"]
    assert file.text.python == sys.version.split()[0] and {len(x) for _, x, _ in file.train} == {200}
