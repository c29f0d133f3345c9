"""A user's own images as a data file: what is written, from every form of source, and what is refused in one sentence."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from data import examples, files, own, streams

RANDOM = np.random.RandomState(0)
X = RANDOM.randint(0, 256, (60, 6, 6)).astype(np.uint8)
Y = np.arange(60) % 6


def bytes_of(x):
    return torch.from_numpy(np.ascontiguousarray(x).reshape(len(x), -1))


@pytest.fixture
def make(tmp_path, capsys):
    """Saves the arrays given, runs the command with more words, and returns (the data file, what was printed)."""

    def make(*words, status=0, source=None, **arrays):
        if source is None:
            np.savez(tmp_path / "my.npz", **arrays)
        out = tmp_path / "my.pt"
        assert own.main([str(source or tmp_path / "my.npz"), "-o", str(out), *map(str, words)]) == status
        said = capsys.readouterr()
        return (files.load(out), said.out) if status == 0 else said.err

    return make


def test_classes_are_dealt_out_and_a_share_of_each_is_held_out(make):
    read, said = make(x=X, y=Y * 10 - 7)
    assert "my.pt: 3 tasks, 36 inputs, 6 classes, 48 training and 12 test examples" in said
    seen = {tuple(row): label for row, label in zip(bytes_of(X).tolist(), Y.tolist(), strict=True)}
    shown = [[], []]
    for t in range(3):
        for tasks, rows, n in ((read.train, shown[0], 8), (read.test, shown[1], 2)):
            name, x, y = tasks[t]
            assert name == [str(20 * t - 7), str(20 * t + 3)] and y.bincount().tolist()[2 * t :] == [n, n]
            assert x.dtype == torch.uint8 and [seen[tuple(row)] for row in x.tolist()] == y.tolist()
            rows += x.tolist()
    assert len({tuple(row) for row in shown[0] + shown[1]}) == 60
    assert make(x=X, y=Y * 10 - 7)[0].hash == read.hash != make("--seed", 1, x=X, y=Y)[0].hash


def test_a_test_set_text_as_labels_and_tasks(make):
    task, y = np.arange(60) // 30, np.array(list("abcdef"))[Y]
    read, _ = make("--classes_per_task", 6, x=X, y=y, x_test=X[:12], y_test=y[:12], task=task, task_test=task[20:32])
    assert [name for name, *_ in read.train] == ["0", "1"]  # as the source names them
    assert torch.equal(read.train[1][1], bytes_of(X[30:])) and read.train[1][2].tolist() == Y[30:].tolist()
    assert torch.equal(read.test[0][1], bytes_of(X[:10])) and read.test[1][2].tolist() == Y[10:12].tolist()
    read, _ = make("--split", "classes", "--classes_per_task", 6, x=X, y=y, task=task)
    assert len(read.train) == 1 and read.train[0][0] == list("abcdef")


def test_permutations_and_rotations_of_colour_images_with_channels_last(make):
    x = RANDOM.rand(12, 5, 5, 3)
    given = {"x": x, "y": Y[:12], "x_test": x[:6], "y_test": Y[:6]}
    flat = np.moveaxis(x, 3, 1).astype(np.float32)
    read, _ = make("--split", "permutations", "--n_tasks", 3, "--seed", 4, **given)
    for (_, index), (_, got, y) in zip(streams.permutations(75, 3, 4), read.train, strict=True):
        assert torch.equal(got, bytes_of(flat)[:, index]) and y.tolist() == Y[:12].tolist()
    read, _ = make("--split", "rotations", "--n_tasks", 2, "--min_rot", 90, "--max_rot", 90, **given)
    assert [angle for angle, *_ in read.test] == [90, 90]
    assert torch.equal(read.test[1][1], bytes_of(np.rot90(flat[:6], 1, (2, 3))))


def draw(folder, n=3, size=(4, 3), mode="L", seed=0):
    """n random images in a new folder; returns their bytes, channels first."""
    folder.mkdir(parents=True)
    channels = {"L": (), "RGB": (3,)}[mode]
    pixels = np.random.RandomState(seed).randint(0, 256, (n, size[1], size[0], *channels)).astype(np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i}.png")
    return bytes_of(np.moveaxis(pixels, 3, 1) if channels else pixels)


def test_a_folder_of_classes(make, tmp_path):
    root = tmp_path / "images"
    drawn = [draw(root / split / name, seed=i) for i, (split, name) in enumerate(
        (split, name) for split in ("train", "test") for name in ("cat", "dog"))]  # fmt: skip
    (root / "train" / "cat" / ".DS_Store").touch()
    read, said = make("--classes_per_task", 1, source=root)
    assert "2 tasks, 12 inputs, 2 classes, 6 training and 6 test examples" in said
    for t, name in enumerate(("cat", "dog")):
        assert read.train[t][0] == [name] and read.train[t][2].tolist() == [t] * 3
        assert torch.equal(read.train[t][1], drawn[t]) and torch.equal(read.test[t][1], drawn[2 + t])


def test_a_folder_of_tasks_grey_and_coloured_of_two_sizes(make, tmp_path, capsys):
    root = tmp_path / "images"
    grey, colour = draw(root / "one" / "cat", 4), draw(root / "two" / "cat", 4, (8, 8), "RGB")
    (root / "notes.txt").touch()
    read, _ = make("--size", 8, "--test_share", 0.25, source=root)
    assert [name for name, *_ in read.train] == ["one", "two"] and len(read.test[0][2]) == 1
    assert read.train[0][1].shape == (3, 3 * 64) and colour.shape == (4, 3 * 64)
    assert {tuple(row) for row in read.train[1][1].tolist()} < {tuple(row) for row in colour.tolist()}
    whole = np.asarray(Image.fromarray(grey[0].view(3, 4).numpy()).resize((8, 8), Image.Resampling.BOX)).reshape(-1)
    shown = torch.cat((read.train[0][1], read.test[0][1])).view(4, 3, 64)
    assert any(torch.equal(row, torch.from_numpy(whole.copy()).expand(3, 64)) for row in shown)


GOOD = {"x": X, "y": Y}
ARRAYS = {
    "no y": ({"x": X}, (), "my.npz: has no array y, only x; it needs x and y"),
    "objects": ({"x": X, "y": np.array([{}] * 60)}, (), "my.npz: y is an array of Python objects, which are never executed"),
    "ragged": ({"x": np.array([X[0], X[1][:2]], dtype=object), "y": Y[:2]}, (), "x is an array of Python objects"),
    "length": ({"x": X, "y": Y[:-1]}, (), "my.npz: y has shape (59,) for 60 images; it must be (60,)"),
    "real labels": ({"x": X, "y": Y / 2}, (), "my.npz: y is float64; store whole numbers or text"),
    "integers": ({"x": X.astype(int), "y": Y}, (), "my.npz: x is int64; store bytes from 0 to 255 as uint8, or floats in [0, 1]"),
    "text": ({"x": np.array([["a"] * 3] * 60), "y": Y}, (), "my.npz: x is <U1; store bytes"),
    "scale": ({"x": X / 2.0, "y": Y}, (), "instead of [0, 1]; scale it, or store uint8"),
    "nan": ({"x": np.full((60, 4), np.nan), "y": Y}, (), "my.npz: x holds NaN or infinity; remove it"),
    "shape": ({"x": X.reshape(-1), "y": Y}, (), "my.npz: x has shape (2160,); it must be"),
    "channels": ({"x": np.zeros((60, 4, 4, 2), np.uint8), "y": Y}, (), "images have 1 or 3 channels, first or last"),
    "empty": ({"x": X[:0], "y": Y[:0]}, (), "my.npz: x has shape (0, 6, 6); it must be"),
    "half a test set": ({**GOOD, "x_test": X}, (), "has one of x_test and y_test; give both or none"),
    "tasks of one": ({**GOOD, "x_test": X, "y_test": Y, "task": Y}, (), "has x_test and one of task and task_test"),
    "widths": ({**GOOD, "x_test": X[:, :5], "y_test": Y}, (), "of the shape (6, 6) and x_test of (5, 6); they need"),
    "dtypes": ({**GOOD, "x_test": X / 255, "y_test": Y}, (), "my.npz: x is uint8 and x_test float64; store both alike"),
    "new class": ({**GOOD, "x_test": X, "y_test": Y + 1}, (), "my.npz: class 6 has test examples and none for training"),
    "single": ({"x": X[:7], "y": Y[:7]}, (), "my.npz: class 1 has one example, and training and test need one each"),
    "uneven": (GOOD, ("--classes_per_task", 4), "which do not make whole tasks; give 1, 2, 3, 6"),
    "no tasks": (GOOD, ("--split", "tasks"), "my.npz: names no tasks; give --split classes, permutations or rotations"),
    "oblong": ({"x": X[:, :5], "y": Y}, ("--split", "rotations"), "images are 5 x 6 pixels, and only square ones can be"),
    "flat": ({"x": X[:, 0], "y": Y}, ("--split", "rotations"), "rows of 6 inputs, and only square ones can be rotated"),
    "size": (GOOD, ("--size", 8), "--size 8: only images of a folder are resized; leave it out"),
    "share": (GOOD, ("--test_share", 1), "--test_share 1: must lie between 0 and 1"),
    "none": (GOOD, ("--classes_per_task", 0), "--classes_per_task 0: must be 1 or more"),
    "seed": (GOOD, ("--seed", -1), "seed -1: must be from 0"),
    "flag": (GOOD, ("--splits", "x"), "unrecognized arguments: --splits x; see --help"),
    "suffix": (GOOD, ("-o", "my.npz"), "-o my.npz: a data file's name ends in .pt; give such a name"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ARRAYS)
def test_wrong_arrays_are_one_sentence_and_nothing_is_lost(make, tmp_path, kind):
    arrays, words, sentence = ARRAYS[kind]
    (tmp_path / "my.pt").write_bytes(b"what stood here")
    said = make(*words, status=2, **arrays)
    assert sentence in said and said.count("\n") == 1 and "Traceback" not in said, said
    assert {path.name for path in tmp_path.iterdir()} == {"my.npz", "my.pt"}
    assert (tmp_path / "my.pt").read_bytes() == b"what stood here"


def test_sources_that_are_no_npz_file(make, tmp_path):
    np.savez_compressed(tmp_path / "good.npz", **GOOD)
    good = (tmp_path / "good.npz").read_bytes()
    np.save(tmp_path / "one.npy", X)
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x.npy", "no array")
    for name, content, sentence in (
        ("cut.npz", good[:-100], "cut.npz: "),
        ("hole.npz", good[:200] + bytes(300) + good[500:], "hole.npz: "),
        ("void.npz", b"", "void.npz: cannot be read as an .npz file (No data left in file); save it again"),
        ("notes.npz", b"my notes", "notes.npz: is no .npz file, or holds Python objects"),
        ("one.npy", None, "one.npy: is one array and not an .npz file; save it with numpy.savez(path, x=x, y=y)"),
        ("text.npz", None, "text.npz: x is no array of numpy; save it again"),
        ("gone.npz", None, "gone.npz: does not exist; give an .npz file, or a folder of images"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        said = make(source=tmp_path / name, status=2)
        assert sentence in said and said.count("\n") == 1, said


def test_an_array_that_is_not_used_is_named(make, capsys, tmp_path):
    np.savez(tmp_path / "my.npz", x=X, y=Y, **{"x_tets\x1b[2J\n": X})
    assert own.main([str(tmp_path / "my.npz"), "-o", str(tmp_path / "my.pt")]) == 0
    assert capsys.readouterr().err == f"note: {tmp_path}/my.npz: not used: x_tets\\x1b[2J \n"


def broken(root):
    (root / "dog" / "1.png").write_bytes((root / "dog" / "1.png").read_bytes()[:-30])


def deep(root):
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(root / "dog" / "9.png")


FOLDERS = {
    "unreadable": (lambda root: (root / "dog" / "notes.txt").write_text("no image"), "notes.txt: cannot be read as an image ("),
    "truncated": (broken, "dog/1.png: cannot be read as an image ("),
    "sizes": (lambda root: draw(root / "eel", 2, (5, 3)), "eel/0.png: is 5 x 3 pixels, "),
    "empty class": (lambda root: (root / "eel").mkdir(), "eel: is empty; remove it, or put its images there"),
    "depth": (lambda root: (root / "dog" / "more").mkdir(), "0.png: lies beside folders of classes; keep images two"),
    "deeper": (lambda root: [draw(root / name / "a" / "b") for name in ("eel", "fox")], "lies beside folders of classes"),
    "16 bits": (deep, "dog/9.png: has more than 8 bits a pixel (mode I;16); save it with 8"),
    "single": (lambda root: draw(root / "eel", 1), "class eel has one example"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLDERS)
def test_wrong_folders_are_one_sentence(make, tmp_path, kind):
    change, sentence = FOLDERS[kind]
    root = tmp_path / "images"
    draw(root / "cat"), draw(root / "dog")
    change(root)
    said = make("--classes_per_task", 1, source=root, status=2)
    assert sentence in said and said.count("\n") == 1 and not (tmp_path / "my.pt").exists(), said


def test_a_folder_without_folders_and_without_pillow(make, tmp_path, hide):
    (tmp_path / "images").mkdir()
    assert "images: has no subfolders; give each class a folder" in make(source=tmp_path / "images", status=2)
    hide("PIL")
    assert make(source=tmp_path / "images", status=2) == "folders of images need pillow: pip install pillow\n"


def test_a_bomb_of_pixels_is_not_decoded(make, tmp_path, monkeypatch):
    draw(tmp_path / "images" / "cat")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    assert "cannot be read as an image (Image size (12 pixels) exceeds limit" in make(
        source=tmp_path / "images", status=2
    )


def test_what_is_made_can_be_learned(make, tmp_path, monkeypatch):
    import main

    make(x=X, y=Y)
    words = [
        "--data_path",
        str(tmp_path),
        "--data_file",
        "my.pt",
        "--save_path",
        str(tmp_path / "r"),
        "--n_hiddens",
        "8",
    ]
    result = main.main(words)
    assert result["protocol"]["head"] == "split" and len(result["grid"]) == 3 and "unmasked" in result


def test_many_classes_and_tasks_are_dealt_out_in_one_pass(make, monkeypatch):
    """Looking through all examples for each class takes the square of their number."""

    def looked(*_, **__):
        raise AssertionError("looks through all examples")

    monkeypatch.setattr(np, "flatnonzero", looked)
    monkeypatch.setattr(torch.Tensor, "nonzero", looked)
    rng = np.random.default_rng(0)
    y, task = rng.permutation(np.arange(1200) % 200), rng.permutation(np.arange(1200) % 6)
    x = np.stack([y, task], 1).astype(np.uint8)
    split, _ = make("--split", "classes", x=x, y=y)
    assert [len(part) for part in (split.train, split.test)] == [100, 100]
    for t, (_, of_train, labels) in enumerate(split.train):
        assert of_train[:, 0].tolist() == labels.tolist() and set(labels.tolist()) == {2 * t, 2 * t + 1}
    named, _ = make("--split", "tasks", x=x[:600], y=y[:600] % 2, task=task[:600])
    for t, (name, of_train, labels) in enumerate(named.train):
        assert name == str(t) and set(of_train[:, 1].tolist()) == {t} and (of_train[:, 0] % 2 == labels).all()
    rows = [[*range(i, 600, 3)] for i in range(3)]
    assert [part.tolist() for part in examples.rows_of(np.arange(600) % 3, 4)] == [*rows, []]
