"""Data files that lie, explode, change or belong to somebody else: refused in a sentence, nothing executed or taken."""

import contextlib
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

import main
from data import DataError, files, identity, standard, stored, temporary, unpickled
from data.archive import Archive
from tests.conftest import stream
from tests.data.test_files import Code, content, identity_file, task

ROOT = Path(main.__file__).parent
MB = 2**20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.pt"


@pytest.fixture
def nobody():
    """A folder of everybody's, and the rights of an ordinary user while the test runs."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    was = os.geteuid()
    if was == 0:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(was)
        for place in [folder, *folder.rglob("*")]:
            if place.is_dir():
                place.chmod(0o777)
        shutil.rmtree(folder)


def refused(path, words, most=32 * MB):
    """Asserts that the file is refused in one sentence with these words, and within `most` bytes of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=words) as caught:
            files.load(path)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


# -- shapes and labels that ask for more than there is ---------------------------------------------------


@pytest.mark.parametrize("label", [2**31, 2**62, 32_768])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint64])
def test_a_wild_label_is_named(path, label, dtype):
    train, test = content()
    test[1][2] = test[1][2].to(dtype)
    test[1][2][1] = label
    torch.save([train, test], path)
    refused(path, rf"test task 1: label {label} is beyond 32,767, .*; number the classes from 0")


def test_the_largest_label_is_taken(path):
    train, test = content()
    train[0][2][0] = 32_767
    torch.save([train, test], path)
    assert int(files.load(path).train[0][2].max()) == 32_767


def test_a_label_beyond_every_signed_number_is_named(path):
    y = torch.tensor([2**63 + 5, 1], dtype=torch.uint64)
    torch.save([[["", torch.rand(2, 3), y]], [task()]], path)
    refused(path, rf"training task 0: label {2**63 + 5} is beyond")


@pytest.mark.parametrize("zipped", [True, False])
def test_expanded_tensors_are_named(path, zipped):
    n = 10**9
    bad = ["", torch.zeros(1, 4).expand(n, 4), torch.zeros(1, dtype=torch.long).expand(n)]
    torch.save([[task(width=4), bad], [task(width=4)] * 2], path, _use_new_zipfile_serialization=zipped)
    refused(
        path, r"training task 1: a tensor has shape \(1000000000, 4\), .* more than 100 times the file; .*x.clone\(\)"
    )


def test_a_little_repetition_is_taken(path):
    same = ["", torch.rand(1, 3).expand(5, 3), torch.tensor(2).expand(5)]
    torch.save([[same], [same]], path)
    read = files.load(path)
    assert torch.equal(read.train[0][1], same[1]) and read.test[0][2].tolist() == [2] * 5


def test_many_tasks_of_one_large_tensor_are_bounded(path):
    x, y = torch.rand(10_000, 5), torch.zeros(10_000, dtype=torch.long)
    tasks = [["", x, y] for _ in range(2_000)]
    torch.save([tasks, tasks], path)
    refused(path, "more than 1,000 times the file", most=64 * MB)


def rewritten(path, change):
    """The zip archive at `path` with every entry as `change(name, content)` makes it: (name, content, keywords)."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, held in entries:
            if new := change(name, held):
                archive.writestr(*new[:2], **new[2])


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_bomb(path, kind):
    n = 20 * MB
    torch.save([[["", torch.zeros(1, 1), torch.zeros(1).long()]]] * 2, path)
    pickled = (
        b"\x80\x02]((]((X\x00\x00\x00\x00ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
        b"ByteStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ" + struct.pack("<i", n) + b"tQK\x00J"
        + struct.pack("<i", n) + b"K\x01\x86K\x01K\x01\x86\x89}tR"
    )  # fmt: skip
    x = pickled[pickled.index(b"ctorch._utils") :]
    y = x.replace(b"K\x01\x86K\x01K\x01\x86", b"\x85K\x01\x85")
    one = b"](](X\x00\x00\x00\x00" + x + y + b"ee"
    code = b"\x80\x02](" + one + one + b"e."
    chunk = bytes(MB)
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("archive/data.pkl", code)
        with archive.open("archive/data/0", "w", force_zip64=True) as entry:
            for _ in range(n // MB):
                entry.write(chunk)
    assert path.stat().st_size < n / 500
    refused(path, "more than 100 times the file" if kind == zipfile.ZIP_DEFLATED else "damaged")


def test_a_small_view_of_a_compressed_bomb(path):
    big = torch.zeros(20 * MB, dtype=torch.uint8)
    few = big.as_strided((4, 3), (1_000, 2))
    torch.save([[["", few, torch.arange(4)]]] * 2, path)
    rewritten(path, lambda name, held: (name, held, {"compress_type": zipfile.ZIP_DEFLATED}))
    assert path.stat().st_size < 100_000
    refused(path, "more than 100 times the file")


def test_a_huge_pickle_is_not_unpacked(path):
    torch.save(content(), path)
    huge = b"]a" * (15 * MB)
    rewritten(
        path,
        lambda name, held: (name, huge if name.endswith("data.pkl") else held, {"compress_type": zipfile.ZIP_DEFLATED}),
    )
    assert path.stat().st_size < MB
    refused(path, "damaged", most=64 * MB)


PICKLES = {
    "a memo of 2^31 places": b"\x80\x02]r\xff\xff\xff\x7f.",
    "an integer of 10 MB": b"\x80\x02\x8b\x00\x00\xa0\x00" + bytes(10 * MB) + b".",
    "a string longer than the file": b"\x80\x02X\xff\xff\xff\x7f.",
    "a string of 2^63 bytes": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    "lists in lists": b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
    "tuples in tuples as a key": b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"Ns.",
    "a dictionary in itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "a negative shape": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQK\x00J\xff\xff\xff\xffK\x03\x86K\x03K\x01\x86\x89}tR.",
    "nothing on the stack": b"\x80\x02.",
    "no end": b"\x80\x02]",
}


@pytest.mark.parametrize("case", PICKLES)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_memory_time_or_the_impossible(path, case, zipped, monkeypatch):
    monkeypatch.setattr(unpickled, "STACK", 2**14)
    torch.save(content(), path, _use_new_zipfile_serialization=zipped)
    if zipped:
        rewritten(path, lambda name, held: (name, PICKLES[case] if name.endswith("data.pkl") else held, {}))
    else:
        whole = path.read_bytes()
        system = whole.index(b"type_sizes")
        path.write_bytes(whole[: whole.index(b"\x80\x02]q", system)] + PICKLES[case])
    refused(path, "damaged|does not hold", most=128 * MB)


# -- damage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_no_byte_can_be_wrong_without_a_sentence(path, zipped, monkeypatch):
    """Bytes of a file, one at a time: it is read as before, or refused. Files before torch 1.6 have no checksums."""
    torch.save(content(1), path, _use_new_zipfile_serialization=zipped)
    whole, same = path.read_bytes(), files.load(path).hash
    monkeypatch.setattr(stored, "TICK", 0)
    random = torch.Generator().manual_seed(0)
    for at in range(0, len(whole), 13):
        wrong = bytearray(whole)
        wrong[at] ^= int(torch.randint(1, 256, (), generator=random))
        path.write_bytes(wrong)
        try:
            read = files.examine(path, verify=True)
            files.in_memory(read.train)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert read.hash == same or not zipped


@pytest.mark.parametrize("at", ["x", "y"])
def test_content_without_its_checksum_is_refused(path, at):
    train, test = content()
    files.save(path, train, test)
    known = (train[0][1] if at == "x" else train[1][2]).numpy().tobytes()
    whole = bytearray(path.read_bytes())
    whole[whole.index(known)] ^= 1
    path.write_bytes(whole)
    refused(path, "is damaged: the content does not have the checksum that the file gives for it; build or copy it")


def test_a_file_of_the_other_byte_order_is_refused(path):
    torch.save(content(), path)
    rewritten(path, lambda name, held: (name, b"big" if name.endswith("byteorder") else held, {}))
    refused(path, "was written by a machine of the other byte order")


# -- what lies beside a data file ------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000, b"\x00" * 9, b"[]" * MB])
def test_a_hostile_identity_is_computed_again(path, text):
    known = files.save(path, *content())
    identity_file(path).write_bytes(text)
    assert files.load(path).hash == known


def test_a_pipe_as_identity_does_not_stop_the_run(path):
    known = files.save(path, *content())
    identity_file(path).unlink()
    os.mkfifo(identity_file(path))
    read = []
    thread = threading.Thread(target=lambda: read.append(files.load(path).hash), daemon=True)
    thread.start()
    thread.join(20)
    assert read == [known]


def test_planted_links_are_not_followed(tmp_path):
    """Links where the program writes, to a file that its owner wants to keep."""
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("years of work")
    (tmp_path / "data").mkdir()
    for place in ("some.pt", "some.pt.identity.json", "digits_rotations.pt.tmp.lock"):
        (tmp_path / "data" / place).symlink_to(thesis)
    (tmp_path / "data" / "digits_rotations.pt").symlink_to(tmp_path / "not_there")
    with contextlib.suppress(DataError):
        standard.ensure(tmp_path / "data" / "digits_rotations.pt")
    files.save(tmp_path / "data" / "some.pt", *content())
    assert thesis.read_text() == "years of work" and not (tmp_path / "not_there").exists()


def test_an_identity_that_came_with_the_file_is_not_believed(path, tmp_path):
    """Times and sizes can be copied, and a stranger can write any hash; the change time is this machine's."""
    files.save(path, *content())
    there = tmp_path / "there"
    there.mkdir()
    for name in (path, identity_file(path)):
        shutil.copy2(name, there / name.name)
    known = json.loads(identity_file(there / "some.pt").read_text())
    identity_file(there / "some.pt").write_text(json.dumps({**known, "hash": "0" * 64}))
    assert files.load(there / "some.pt").hash == files.load(path).hash


# -- identity --------------------------------------------------------------------------------------------


def overwrite(path, tasks, keep_times=True):
    """The file's bytes replaced in place, as `rsync --inplace -t` and `cp -p` do."""
    before = path.stat()
    with open(path, "r+b") as file:
        with Archive(file) as archive:
            archive.finish(tasks)
        file.truncate()
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size


def test_other_content_of_the_same_size_and_time_is_noticed(path):
    files.save(path, *content())
    old = files.load(path).hash
    other = content()
    other[0][0][1][0, 0] = 0.5
    overwrite(path, other)
    new = files.load(path).hash
    assert new != old
    other[0][0][1][0, 0] = float("nan")
    overwrite(path, other)
    refused(path, "NaN")


def test_a_change_right_after_a_change_is_noticed(path):
    """Times come in steps of some milliseconds. Nothing that is read in the step of a change is remembered of it."""
    train, test = content()
    files.save(path, train, test)
    for i in range(6):
        train[0][1][0, 0] = i / 6
        overwrite(path, [train, test])
        first = files.load(path)
        assert float(first.train[0][1][0, 0]) == train[0][1][0, 0]
        train[0][1][0, 0] = 1.0
        overwrite(path, [train, test])
        assert files.load(path).hash != first.hash


def rot(path, to):
    """Changes bytes and leaves no trace of it in what the system says of the file."""
    overwrite(path, to)
    known = json.loads(identity_file(path).read_text())
    identity_file(path).write_text(json.dumps({**known, **identity.key(path.stat())}))


def test_verify_reads_what_was_read_before(path, tmp_path, capsys):
    files.save(path, *content())
    old = files.load(path).hash
    other = content()
    other[0][0][1][0, 0] = 0.5
    rot(path, other)
    assert files.examine(path).hash == old
    new = files.examine(path, verify=True).hash
    assert new != old and files.examine(path).hash == new
    other[0][0][1][0, 0] = 2.0
    rot(path, other)
    argv = ["--data_path", tmp_path, "--data_file", "some.pt", "--save_path", tmp_path / "r", "--verify", "yes"]
    assert main.cli(list(map(str, argv))) == 2
    assert "x ranges over" in capsys.readouterr().err


# -- changes during a run --------------------------------------------------------------------------------


def shorter(path):
    path.write_bytes(path.read_bytes()[:100])


def replaced(path):
    files.save(path, *stream(seed=5))


def other_values(path):
    train, test = stream(seed=5)
    overwrite(path, [train, test], keep_times=False)


CHANGES = {
    "other values": (other_values, "now: sha256 "),
    "shorter": (shorter, "now: is truncated, damaged"),
    "replaced": (replaced, "now: sha256 "),
    "removed": (Path.unlink, "now: No such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "now: is not a file"),
    "touched": (lambda path: os.utime(path), None),
    "written again": (lambda path: files.save(path, *stream()), None),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("flags", [[], ["--samples_per_task", "10", "--validation", "5"]])
def test_a_data_file_that_changes_during_a_run(case, flags, data_file, monkeypatch, capsys):
    """The run is the undisturbed one, digit for digit, and says at its end that the file is another now."""
    from model import single

    change, said = CHANGES[case]
    argv = ["--data_path", data_file.parent, "--data_file", data_file.name, "--log_every", 10, "--lr", 0.1, *flags]
    argv += ["--save_path", data_file.parent / "r", "--n_hiddens", 8]
    undisturbed = main.main(argv)
    learn, steps = single.Net.observe, []

    def observe(self, x, t, y):
        steps.append(t)
        if len(steps) == 3:
            change(data_file)
        learn(self, x, t, y)

    monkeypatch.setattr(single.Net, "observe", observe)
    capsys.readouterr()
    result = main.main(argv)
    err = capsys.readouterr().err
    for key in ("grid", "baseline", "evolution", "protocol"):
        assert result[key] == undisturbed[key]
    if said:
        assert f"note: {data_file} was changed during the run ({said}" in err
        assert f"sha256 {result['protocol']['data_hash'][:12]}" in err
    else:
        assert "was changed" not in err


def test_a_data_file_cut_short_during_a_run_does_not_kill_the_process(tmp_path):
    files.save(tmp_path / "big.pt", *stream(n=20_000))
    script = (
        "import sys, main\nfrom model import single\nlearn, n = single.Net.observe, []\n"
        "def observe(self, x, t, y):\n    n.append(0)\n    len(n) == 3 and open('big.pt', 'r+b').truncate(4096)\n"
        "    learn(self, x, t, y)\nsingle.Net.observe = observe\nsys.exit(main.cli(sys.argv[1:]))"
    )
    argv = "--data_path . --data_file big.pt --save_path r --samples_per_task 50 --n_hiddens 4".split()
    done = subprocess.run(
        [sys.executable, "-c", script, *argv],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and "was changed during the run (now: is truncated" in done.stderr


def test_a_file_written_to_while_it_is_read(path):
    files.save(path, *content())
    read = files.examine(path)
    overwrite(path, content(), keep_times=False)
    with pytest.raises(DataError, match="was written to while it was read; start again"):
        files.in_memory(read.train)


@pytest.mark.parametrize("flag", ["integer", "float32"])
def test_tasks_that_share_their_images_are_scored_right(tmp_path, flag):
    """The same test images in every task, as bytes, and other labels: each task is what it is alone."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (60, 12), dtype=torch.uint8, generator=draw)
    tasks = [["", x, (x[:, t].long() // 64)] for t in range(3)]
    apart = [["", x.clone(), y] for _, x, y in tasks]
    grids = []
    for name, test in (("shared", tasks), ("apart", apart)):
        files.save(tmp_path / f"{name}.pt", tasks, test)
        argv = ["--data_path", tmp_path, "--data_file", f"{name}.pt", "--save_path", tmp_path / "r", "--lr", 0.1]
        grids.append(main.main([*argv, "--n_hiddens", 8, "--evaluation", flag])["grid"])
    assert grids[0] == grids[1]


# -- what dead processes leave ---------------------------------------------------------------------------


def test_what_dead_processes_left_is_removed(path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = [
        path.with_name(f".{name}.{dead.pid}-{temporary.HOST}-0123abcd.tmp")
        for name in ("some.pt", "other.pt", "other.pt.identity.json")
    ]
    for use in (lambda: files.save(path, *content()), lambda: files.load(path)):
        for place in left:
            place.write_bytes(b"half a file")
        use()
        assert not any(place.exists() for place in left)


# -- places that cannot be read or written ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 303, "a" * 300 + ".pt", "x/" * 3000 + "a.pt", "nul\0.pt", "é" * 200 + ".pt"])
def test_impossible_names(tmp_path, name, capsys):
    for call in (standard.ensure, files.load, lambda place: files.save(place, *content())):
        with pytest.raises(DataError) as caught:
            call(tmp_path / name)
        assert "\n" not in str(caught.value)
    argv = ["--data_path", str(tmp_path), "--data_file", name, "--save_path", str(tmp_path / "r")]
    assert main.cli(argv) == 2 and capsys.readouterr().err.startswith("main.py: ")


def test_a_name_that_leaves_no_room_for_a_suffix(tmp_path):
    """Its identity cannot be kept, and that is all."""
    name = "a" * 252 + ".pt"
    files.save(tmp_path / name, *content())
    assert files.load(tmp_path / name).train
    assert [place.name for place in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["some.pt", "digits_rotations.pt"])
def test_a_folder_that_may_not_be_searched(nobody, name):
    folder = nobody / "closed"
    folder.mkdir()
    torch.save(content(), folder / name)
    folder.chmod(0o600)
    for call in (standard.ensure, files.load, lambda place: files.save(place, *content())):
        with pytest.raises(DataError, match=r"Permission denied|no permission"):
            call(folder / name)


def test_a_folder_that_becomes_read_only(nobody, capsys):
    """The identity cannot be kept, and that is all."""
    torch.save(content(), nobody / "some.pt")
    nobody.chmod(0o555)
    assert files.load(nobody / "some.pt").hash == files.load(nobody / "some.pt").hash
    with pytest.raises(DataError, match="ermission"):
        files.save(nobody / "some.pt", *content())
    assert [place.name for place in nobody.iterdir()] == ["some.pt"]


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True)
    if made.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk(full_disk, monkeypatch):
    tasks = [["", torch.rand(200, 100), torch.zeros(200, dtype=torch.long)] for _ in range(20)]
    known = files.save(full_disk / "some.pt", tasks[:2], tasks[:2])
    before = sorted(place.name for place in full_disk.iterdir())
    with pytest.raises(DataError, match="make room"):
        files.save(full_disk / "some.pt", tasks, tasks)
    usage = shutil.disk_usage(full_disk)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)  # it fills up only while the file is written
    with pytest.raises(DataError, match=r"could not be written \(No space left on device\)"):
        files.save(full_disk / "some.pt", tasks, tasks)
    assert sorted(place.name for place in full_disk.iterdir()) == before
    assert files.load(full_disk / "some.pt").hash == known


# -- memory ----------------------------------------------------------------------------------------------


def test_what_does_not_fit_into_memory_is_a_sentence(path, monkeypatch):
    x = torch.zeros(5_000, 1_000, dtype=torch.uint8)
    files.save(path, [["", x, torch.arange(5_000) % 7]], [["", x[:5].clone(), torch.arange(5)]])
    left = stored.available_memory()
    assert 10 * MB < left < 2**50
    monkeypatch.setattr(stored, "LARGE", MB)
    files.load(path)
    monkeypatch.setattr(stored, "available_memory", lambda: 3e6)
    read = files.examine(path)
    with pytest.raises(
        DataError, match=r"5 MB of it do not fit into memory, which has 3 MB left; give fewer --n_tasks"
    ):
        files.in_memory(read.train)
    monkeypatch.setattr(stored, "available_memory", lambda: 1e12)
    empty = torch.empty

    def limited(*shape, **how):
        if shape[0] > MB:
            raise RuntimeError("can't allocate memory")
        return empty(*shape, **how)

    monkeypatch.setattr(torch, "empty", limited)
    with pytest.raises(DataError, match="do not fit into memory"):
        files.in_memory(read.train)
    few = read.train[0][1][torch.arange(0, 5_000, 10)]
    assert few.read().shape == (500, 1_000)


@pytest.mark.parametrize(("dtype", "width"), [(torch.uint8, 1), (torch.uint8, 900), (torch.float32, 1_300)])
@pytest.mark.parametrize("packed", [False, True])
def test_rows_are_read_as_a_tensor_gives_them(path, dtype, packed, width, monkeypatch):
    monkeypatch.setattr(stored, "BLOCK", 2**16)
    n = 500
    x = (torch.rand(n, width) * 255).to(torch.uint8)
    x = x if dtype == torch.uint8 else x.to(dtype) / 255
    y, strided = torch.arange(n) % 5, torch.cat([x, x], 1)[:, :width]
    torch.save([[["", x, y], ["", strided, y]], [["", x, x[:, 0].long()]] * 2], path)
    if packed:
        rewritten(path, lambda name, held: (name, held, {"compress_type": zipfile.ZIP_DEFLATED}))
    draw = torch.Generator().manual_seed(width)
    for (_, on_disk, _), whole in zip(files.examine(path).train, (x, strided), strict=True):
        for k in (1, 3, 50, 250, 499, 500):
            rows = torch.randperm(n, generator=draw)[:k].sort().values
            assert torch.equal(on_disk[rows].read(), whole[rows])
            assert torch.equal(on_disk[rows][torch.arange(0, k, 2)].read(), whole[rows][::2])
        monkeypatch.setattr(files.pixels, "ROWS", 99)
        assert torch.equal(torch.cat(list(on_disk.blocks())), whole)


# -- planted code ----------------------------------------------------------------------------------------


def forms(payload):
    """Every form in which a data file, or something that looks like one, could carry a pickle."""
    tasks = [[["", payload, torch.zeros(2).long()]], [task()]]
    for protocol in range(2, 6):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(tasks, buffer, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
            yield f"torch.save, zip {zipped}, protocol {protocol}", buffer.getvalue()
    for protocol in range(6):
        yield f"pickle {protocol}", pickle.dumps(tasks, protocol=protocol)
    torch.save(content(), buffer := io.BytesIO())
    names = (b"data.pkl", b"version", b"byteorder")
    for name in names:  # beside or instead of the value
        out = io.BytesIO()
        with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(out, "w") as new:
            for entry in old.namelist():
                planted = entry.endswith(name.decode())
                new.writestr(entry, pickle.dumps(payload, 2) if planted else old.read(entry))
        yield f"in {name.decode()}", out.getvalue()


def test_planted_code_is_refused_and_not_run(path, tmp_path):
    mark = tmp_path / "executed"
    n = 0
    for name, planted in forms(Code(mark)):
        path.write_bytes(planted)
        with contextlib.suppress(DataError):
            files.load(path)
            assert name == "in version", name  # which nobody reads
        assert not mark.exists(), name
        n += 1
    assert n == 17


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"(X\x04\x00\x00\x00trueios\nsystem\n.",
        b"(cos\nsystem\nX\x04\x00\x00\x00trueo.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02ctorch.serialization\nload\nX\x01\x00\x00\x00a\x85R.",
        b"\x80\x02ctorch\nload\nX\x04\x00\x00\x00a.pt\x85R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}b.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_every_opcode_that_calls_is_refused(path, code, monkeypatch):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("executed"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("executed"))
    torch.save(content(), path)
    rewritten(path, lambda name, held: (name, code if name.endswith("data.pkl") else held, {}))
    refused(path, "holds pickled code|damaged|does not hold a pair")
