"""The builders: their files against the recipe written out, and their command lines."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data import (
    DataError,
    building,
    cifar100,
    cifar100_superclasses,
    digits_permutations,
    digits_rotations,
    digits_split,
    fashion_mnist_permutations,
    fashion_mnist_rotations,
    fashion_mnist_split,
    files,
    mnist_manypermutations,
    mnist_permutations,
    mnist_rotations,
    mnist_split,
    omniglot_alphabets,
    sources,
)
from data.archive import Archive

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "built.pt"


@pytest.fixture
def tiny(monkeypatch):
    """Tiny raw data in place of the real: {name: ((x, y), (x, y))}."""
    random = np.random.RandomState(0)

    def some(n, width, y):
        return torch.from_numpy(random.randint(0, 256, (n, width)).astype(np.uint8)), torch.as_tensor(y)

    made = {
        "mnist": (some(30, 784, np.arange(30) % 10), some(10, 784, np.arange(10))),
        "fashion_mnist": (some(30, 784, np.arange(30) % 10), some(10, 784, np.arange(10))),
        "cifar100": (
            some(300, 3072, random.permutation(300) % 100),
            some(200, 3072, random.permutation(200) % 100),
        ),
    }
    monkeypatch.setattr(sources, "images", lambda name, raw_path=None: made[name])
    coarse = tuple((x, y, (7 * y + 3) % 20) for x, y in made["cifar100"])  # five fine labels each
    monkeypatch.setattr(sources, "cifar100", lambda raw_path=None: coarse)
    ink = random.rand(100, 20, 105, 105) < 0.3  # of the first three alphabets and a part of the fourth
    monkeypatch.setattr(sources, "omniglot", lambda raw_path=None: iter((~ink[:40], ~ink[40:])))
    made |= {"coarse": coarse, "ink": ink}
    return made


@pytest.mark.parametrize(
    ("builder", "name"), [(mnist_permutations, "mnist"), (fashion_mnist_permutations, "fashion_mnist")]
)
def test_permutations(path, tiny, builder, name):
    builder.build(path, n_tasks=3, seed=7)
    read = files.load(path)
    torch.manual_seed(7)  # the reference's recipe
    for t in range(3):
        p = torch.randperm(784)
        for (description, x, y), (pixels, labels) in zip((read.train[t], read.test[t]), tiny[name], strict=True):
            assert description == "random permutation"
            assert x.dtype == torch.uint8 and torch.equal(x, pixels[:, p]) and torch.equal(y, labels)
    assert not torch.equal(read.train[0][1], tiny[name][0][0])  # the first task is permuted too


def test_rotations(path, tiny):
    mnist_rotations.build(path, n_tasks=4, seed=1, min_rot=0, max_rot=180)
    read = files.load(path)
    for t in range(4):
        for (angle, x, y), (pixels, labels) in zip((read.train[t], read.test[t]), tiny["mnist"], strict=True):
            assert 45 * t <= angle < 45 * (t + 1)
            images = [Image.fromarray(image.numpy()) for image in pixels.reshape(-1, 28, 28)]
            rotated = np.stack([np.array(image.rotate(angle)) for image in images]).reshape(-1, 784)
            assert torch.equal(x, torch.from_numpy(rotated)) and torch.equal(y, labels)


def test_rotations_in_rounds(path, tiny):
    """The same angles once more, in the same order; half as many as without rounds, over the same degrees."""
    fashion_mnist_rotations.build(path, n_tasks=6, seed=1, min_rot=0, max_rot=180, rounds=2)
    read = files.load(path)
    angles = [task[0] for task in read.train]
    assert angles == angles[:3] * 2 and [angle // 60 for angle in angles[:3]] == [0, 1, 2]
    assert torch.equal(read.train[1][1], read.train[4][1]) and not torch.equal(read.train[0][1], read.train[1][1])
    for rounds in (0, 4, -1):
        with pytest.raises(DataError, match=f"rounds {rounds}: 6 tasks are not so many rounds; give a divisor of 6"):
            fashion_mnist_rotations.build(path, n_tasks=6, rounds=rounds)


@pytest.mark.parametrize("n_tasks", [1, 5, 100])
def test_cifar100_splits_the_classes(path, tiny, n_tasks):
    cifar100.build(path, n_tasks=n_tasks)
    read = files.load(path)
    classes = 100 // n_tasks
    for tasks, (pixels, labels), repeats in zip((read.train, read.test), tiny["cifar100"], (3, 2), strict=True):
        for t, (description, x, y) in enumerate(tasks):
            rows = [i for i, label in enumerate(labels.tolist()) if label // classes == t]
            assert description == (t * classes, (t + 1) * classes)
            assert torch.equal(x, pixels[rows]) and torch.equal(y, labels[rows])
            assert y.bincount().tolist()[t * classes :] == [repeats] * classes


def test_cifar100_superclasses(path, tiny):
    cifar100_superclasses.build(path, n_tasks=7, n_train=9)
    read = files.load(path)
    for tasks, (pixels, fine, coarse), most in zip((read.train, read.test), tiny["coarse"], (9, 300), strict=True):
        for t, (description, x, y) in enumerate(tasks):
            classes = sorted(set(fine[coarse == t].tolist()))
            rows = [i for i, label in enumerate(fine.tolist()) if label in classes][:most]
            assert description == (t, classes) and len(classes) == 5
            assert torch.equal(x, pixels[rows])
            assert y.tolist() == [5 * t + classes.index(int(fine[i])) for i in rows]
    with pytest.raises(DataError, match="n_tasks 21: CIFAR-100 has 20 superclasses"):
        cifar100_superclasses.build(path, n_tasks=21)


def test_omniglot_alphabets(path, tiny):
    assert len(omniglot_alphabets.ALPHABETS) == 50 and sum(omniglot_alphabets.ALPHABETS.values()) == 1623
    omniglot_alphabets.build(path, n_tasks=2)
    read = files.load(path)
    for split, drawers in ((read.train, range(15)), (read.test, range(15, 20))):
        for (name, x, y), wanted, first, count in zip(split, ("Arcadian", "Armenian"), (0, 26), (26, 41), strict=True):
            assert name == wanted and y.tolist() == [first + c for _ in drawers for c in range(count)]
            for i in (0, count, len(y) - 1):  # by areas: 15 quarters of a pixel a side
                quarters = tiny["ink"][y[i], drawers[i // count]].repeat(4, 0).repeat(4, 1)
                shares = quarters.reshape(28, 15, 28, 15).mean((1, 3)).reshape(-1)
                assert torch.equal(x[i], torch.from_numpy(np.floor(255 * shares + 0.5)).byte())
    omniglot_alphabets.build(path, n_tasks=2, n_train=26, n_test=3)
    assert files.load(path).train[0][2].tolist() == list(range(26)) and len(files.load(path).test[1][2]) == 3
    with pytest.raises(DataError, match="n_tasks 51: Omniglot has 50 alphabets"):
        omniglot_alphabets.build(path, n_tasks=51)


def test_mnist_manypermutations(path, tiny):
    mnist_manypermutations.build(path, n_tasks=4, seed=3, n_train=12)
    read = files.load(path)
    (pixels, labels), (test_pixels, test_labels) = tiny["mnist"]
    torch.manual_seed(3)
    p = [torch.randperm(784) for _ in range(4)]
    shown = []
    for t in range(4):
        _, x, y = read.test[t]
        assert torch.equal(x, test_pixels[:, p[t]]) and torch.equal(y, test_labels)
        _, x, y = read.train[t]
        whole = {tuple(row): i for i, row in enumerate(pixels[:, p[t]].tolist())}
        rows = [whole[tuple(row)] for row in x.tolist()]
        assert len(set(rows)) == 12 and torch.equal(y, labels[rows])
        shown.append(rows)
    assert len({tuple(rows) for rows in shown}) == 4  # each task draws its own
    with pytest.raises(DataError, match="31 examples: must be from 1 to the 30 there are"):
        mnist_manypermutations.build(path, n_train=31)


@pytest.mark.parametrize(
    ("builder", "name"), [(mnist_split, "mnist"), (fashion_mnist_split, "fashion_mnist"), (digits_split, "digits")]
)
@pytest.mark.parametrize("heldout", ["train", "test"])
def test_splits_have_two_classes_a_task_and_every_image_once(path, tiny, monkeypatch, builder, name, heldout):
    if name == "digits":
        monkeypatch.undo()  # the real digits
    else:
        x, y = tiny[name][0]
        tiny[name] = ((x.repeat(4, 1), y.repeat(4)), tiny[name][1])  # enough to hold out some of each class
    builder.build(path, heldout=heldout, dtype="float32")
    read = files.load(path)
    white = sources.WHITE[name]
    train, test = sources.images(name)
    n = len(train[1])
    kept, held = range(n), range(len(test[1]))
    if heldout == "train":
        order = np.random.RandomState(42).permutation(n).tolist()
        held, kept, test = sorted(order[: n // 6]), sorted(order[n // 6 :]), train
    for tasks, (x, y), rows in ((read.train, train, kept), (read.test, test, held)):
        assert [pair for pair, *_ in tasks] == [(1, 2), (3, 4), (5, 6), (7, 8), (9, 0)]
        for pair, images, labels in tasks:
            own = [i for i in rows if int(y[i]) in pair]
            assert torch.equal(labels, y[own]) and torch.equal(images, x[own] / white)
        assert sum(len(labels) for *_, labels in tasks) == len(rows)


def test_the_digits_split_is_scikit_learns(path):
    from sklearn.model_selection import train_test_split

    digits_split.build(path)
    read = files.load(path)
    for tasks, labels in zip(
        (read.train, read.test),
        train_test_split(sources.images("digits")[0][1].numpy(), test_size=216, random_state=42),
        strict=True,
    ):
        assert [len(y) for *_, y in tasks] == [np.isin(labels, pair).sum() for pair, *_ in tasks]
    assert [len(y) for *_, y in read.test] == [50, 35, 42, 44, 45]


@pytest.mark.slow
def test_the_mnist_split_is_the_split_mnist_notes(path):
    """Its printed fractions are of these counts; tasks in the order of learning."""
    mnist_split.build(path)
    read = files.load(path)
    assert np.cumsum([len(y) for *_, y in read.test]).tolist() == [2_087, 4_067, 5_967, 8_006, 10_000]
    assert [len(y) for *_, y in read.train] == [10_613, 9_993, 9_439, 10_077, 9_878]


@pytest.mark.parametrize(
    "builder", [mnist_permutations, mnist_rotations, fashion_mnist_permutations, cifar100, cifar100_superclasses]
)
def test_floats_are_the_same_data_as_bytes(tmp_path, tiny, builder):
    builder.build(tmp_path / "bytes.pt", n_tasks=5)
    builder.build(tmp_path / "floats.pt", n_tasks=5, dtype="float32")
    ours, theirs = files.load(tmp_path / "bytes.pt"), files.load(tmp_path / "floats.pt")
    for task, same in zip(ours.train + ours.test, theirs.train + theirs.test, strict=True):
        assert same[1].dtype == torch.float32 and torch.equal(task[1] / 255.0, same[1])
    assert ours.hash == theirs.hash and ours.bytes and theirs.bytes


def test_images_of_another_white_level_are_no_bytes(path, capsys):
    with pytest.raises(DataError, match=r"--dtype uint8: .* white is 16 in digits; give --dtype float32"):
        digits_permutations.build(path, dtype="uint8")
    assert building.main(digits_permutations.build, str(path), ["--dtype", "int16"]) == 2
    assert "invalid choice" in capsys.readouterr().err and not path.exists()


def test_the_first_examples_only(path, tiny):
    mnist_rotations.build(path, n_tasks=2, n_train=12, n_test=3, min_rot=0, max_rot=0)
    for _, x, y in files.load(path).train:
        assert torch.equal(x, tiny["mnist"][0][0][:12]) and len(y) == 12
    assert len(files.load(path).test[1][1]) == 3
    cifar100.build(path, n_tasks=10, n_train=7)
    assert [len(y) for _, _, y in files.load(path).train] == [7] * 10
    assert [len(y) for _, _, y in files.load(path).test] == [20] * 10
    for n in (0, -1, 31):
        with pytest.raises(DataError, match=f"{n} examples: must be from 1 to the 30 there are"):
            mnist_permutations.build(path, n_train=n)


def test_digits_permutations_are_the_parity_cases_tasks(path):
    from sklearn.datasets import load_digits

    digits_permutations.build(path)  # 20 tasks, seed 0
    read = files.load(path)
    digits = load_digits()
    generator = np.random.RandomState(0)
    order = generator.permutation(len(digits.target))
    x = torch.tensor(digits.data[order] / 16, dtype=torch.float32)
    y = torch.tensor(digits.target[order])
    for t in range(20):
        pixels = torch.from_numpy(generator.permutation(64))
        for (name, x_, y_), part in ((read.train[t], slice(1297)), (read.test[t], slice(1297, None))):
            assert name == "random permutation" and x_.dtype == x.dtype
            assert torch.equal(x_, x[part][:, pixels]) and torch.equal(y_, y[part])


def test_digits_rotations(path):
    digits_rotations.build(path, n_tasks=2, min_rot=90, max_rot=90)
    upright = sources.images("digits")[0][0].reshape(-1, 8, 8)
    turned = files.load(path).train[0][1].reshape(-1, 8, 8) * 16
    assert torch.equal(turned, torch.rot90(upright, 1, (1, 2)).float())  # counter-clockwise, as pillow's


def test_labels_are_stored_once(path, tiny):
    mnist_permutations.build(path, n_tasks=10)
    per_task = (30 + 10) * 784
    assert path.stat().st_size < 10 * per_task + 10_000


@pytest.mark.parametrize("n_tasks", [3, 200, 0])
def test_cifar100_task_counts(path, tiny, n_tasks):
    with pytest.raises(DataError, match=f"n_tasks {n_tasks}"):
        cifar100.build(path, n_tasks=n_tasks)


def test_targets_are_tried_before_the_work(tmp_path, tiny, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(building, "progress", lambda *_: pytest.fail("built first"))
    for builder in (mnist_permutations, mnist_rotations, cifar100):
        with pytest.raises(DataError, match="folder cannot be made"):
            builder.build(tmp_path / "file" / "built.pt")


# -- command lines ---------------------------------------------------------------------------------------


def run(folder, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("folder", "start"), [("data", ["digits_permutations.py"]), (".", ["-m", "data.digits_permutations"])]
)
def test_runs_from_its_folder_and_from_the_root(path, folder, start):
    done = run(ROOT / folder, *start, "--o", path, "--n_tasks", "3", "--n_train", "100", "--seed", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: 0.5 MB\n"
    assert [x.shape for _, x, _ in files.load(path).train] == [(100, 64)] * 3


BUILDERS = {
    digits_permutations: "digits_permutations.pt",
    digits_rotations: "digits_rotations.pt",
    mnist_permutations: "mnist_permutations.pt",
    fashion_mnist_rotations: "fashion_mnist_rotations.pt",
    mnist_rotations: "mnist_rotations.pt",
    fashion_mnist_permutations: "fashion_mnist_permutations.pt",
    cifar100: "cifar100.pt",
    cifar100_superclasses: "cifar100_superclasses.pt",
    omniglot_alphabets: "omniglot_alphabets.pt",
    mnist_split: {"train": "mnist_split.pt", "test": "mnist_split_test.pt"},
}


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
def test_every_command_line(builder, tmp_path, tiny, monkeypatch, capsys):
    name = builder.__name__.removeprefix("data.")
    if "digits" in name:
        monkeypatch.undo()  # the real digits
    monkeypatch.chdir(tmp_path)
    arguments = ["--i", "raw/", "--seed", "5"]
    arguments += ["--heldout", "test"] if "split" in name else ["--n_tasks", "2"]
    if "rotations" in name:
        arguments += ["--min_rot", "0.", "--max_rot", "180"]
    assert building.main(builder.build, BUILDERS[builder], arguments) == 0
    written = "mnist_split_test.pt" if "split" in name else BUILDERS[builder]
    said = capsys.readouterr()
    assert said.out.startswith(f"{written}: ") and said.err.count("\n") == said.err.count("note: ") <= 1
    assert len(files.load(written).train) == (5 if "split" in name else 2)
    with pytest.raises(SystemExit) as left:
        building.main(builder.build, BUILDERS[builder], ["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert ("--heldout" if "split" in name else "--n_tasks") in said and written in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--n_tasks", "0"], "n_tasks 0: at least one"),
        (["--n_tasks", "two"], "invalid int value: 'two'"),
        (["--seed", "-1"], "seed -1"),
        (["--min_rot", "100"], "min_rot 100, max_rot 90"),
        (["--max_rot", "nan"], "max_rot nan"),
        (["--n_train", "1298"], "1298 examples: must be from 1 to the 1297"),
        (["--o", "."], "is a folder"),
        (["--o", "/dev/null/built.pt"], "folder cannot be made"),
        (["--surprise"], "unrecognized arguments: --surprise"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert building.main(digits_rotations.build, "digits_rotations.pt", arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_is_not_replaced(path, capsys):
    os.mkfifo(path)
    before = path.lstat()
    assert building.main(digits_rotations.build, "digits_rotations.pt", ["--o", str(path), "--n_tasks", "1"]) == 2
    assert capsys.readouterr().err == f"{path}: is there and is no regular file; give another name\n"
    assert path.lstat() == before


def test_interrupted(path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "save", interrupt)
    assert building.main(digits_rotations.build, str(path), []) == 130
    assert "nothing written" in capsys.readouterr().err


def test_terminated_while_the_file_is_written(path, monkeypatch, capsys):
    monkeypatch.setattr(Archive, "finish", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert building.main(digits_rotations.build, str(path), []) == 143
    assert capsys.readouterr().err == "terminated, nothing written\n"
    assert not list(path.parent.iterdir()) and signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("name", "argv", "said"),
    [
        ("digits_rotations.pt", [], "built with --max_rot 180.0"),
        ("digits_rotations.pt", ["--max_rot", "180"], None),
        ("digits_rotations.pt", ["--max_rot", "180", "--n_train", "20"], "built with --n_train all"),
        ("digits_rotations.pt", ["--n_tasks", "3", "--seed", "1"], "built with --n_tasks 20 --seed 0 --max_rot 180.0"),
        ("my_rotations.pt", [], None),
    ],
)
def test_another_file_under_a_standard_name_is_told_of(tmp_path, capsys, name, argv, said):
    """It would be taken for the standard one ever after."""
    assert building.main(digits_rotations.build, str(tmp_path / name), argv) == 0
    told = capsys.readouterr().err
    assert (
        told == ""
        if said is None
        else told.startswith(f"note: {tmp_path / name}: main.py and the scripts") and said in told
    )
