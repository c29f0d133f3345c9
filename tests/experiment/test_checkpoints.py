"""When checkpoints are written, where they lie, what is refused, what signals do, what a failure leaves."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

import main
from data import files, temporary
from experiment import checkpoints, trial
from experiment.checkpoints import Checkpoints
from experiment.store import PLACE, Damaged, Store, remove_left_behind
from model import UsageError, single
from scripts.kill_test import measured
from tests.conftest import DROPPED_IN, stream
from tests.experiment.stopping import Killed, Stops, words


@pytest.fixture
def stopped(data_file, monkeypatch):
    """Ends a run of `single` before its step 5, and returns the words of its command; more flags for the command."""

    def stopped(**flags):
        argv = words(data_file.parent, save_path=data_file.parent / "r", model="single", **flags)
        stops = Stops(monkeypatch)
        stops.left = 5
        with pytest.raises(Killed):
            main.main(argv)
        return argv

    return stopped


def checkpoint_of(data_file) -> Path:
    (file,) = (data_file.parent / "r" / PLACE).glob("*/checkpoint")
    return file


# ---------------------------------------------------------------- the file


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path, "a")
    assert store.lock()
    return store


def test_what_was_written_is_read(store):
    state = {"x": torch.rand(3), "y": [1, ("a", None)], "z": {1, 2}}
    store.write({"n": 1}, state)
    header, found = store.read()
    assert header == {"n": 1} and torch.equal(found["x"], state["x"])
    assert (found["y"], found["z"]) == (state["y"], state["z"])


def test_every_flipped_byte_and_every_cut_is_found(store):
    store.write({"n": 1}, {"x": torch.rand(3)})
    whole = store.file.read_bytes()
    for at in range(0, len(whole), 19):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            store.file.write_bytes(damaged)
            with pytest.raises(Damaged):
                store.read()


def test_nothing_in_a_checkpoint_is_executed(store, tmp_path):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    store.write({}, {"x": Payload()})
    with pytest.raises(Damaged, match="UnpicklingError"):
        store.read()
    assert not (tmp_path / "executed").exists()


def test_a_write_that_fails_leaves_the_previous_one(store, monkeypatch):
    store.write({"n": 1}, {})
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            store.write({"n": 2}, {})
        monkeypatch.undo()
        assert store.read()[0] == {"n": 1}
        assert sorted(path.name for path in store.folder.iterdir()) == ["checkpoint", "lock"]


def test_a_full_disk_is_an_os_error(store, monkeypatch):
    """torch reports what it could not write as an error of its own."""
    monkeypatch.setattr(temporary, "open", lambda *_: open("/dev/full", "wb"), raising=False)  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        store.write({}, {"x": torch.rand(100_000)})


def test_a_folder_that_was_removed_is_made_again(store):
    store.write({"n": 1}, {})
    shutil.rmtree(store.folder.parent)
    assert store.lock()
    store.write({"n": 2}, {})
    other = Store(store.folder.parents[1], store.folder.name)
    assert store.read()[0] == {"n": 2} and not other.lock()
    shutil.rmtree(store.folder.parent)
    assert other.lock() and not store.lock()  # the second came first this time


def test_one_run_at_a_time_and_leftovers_of_dead_ones_go(tmp_path):
    one, two = Store(tmp_path, "a"), Store(tmp_path, "a")
    one.folder.mkdir(parents=True)
    (one.folder / ".checkpoint.123.tmp").touch()
    assert one.lock() and one.lock() and not two.lock()
    assert not (one.folder / ".checkpoint.123.tmp").exists()
    one.write({}, {})
    two.remove()  # has no lock
    assert one.exists()
    one.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [[], ["lock"], ["lock", ".checkpoint.123.tmp"]])
def test_folders_of_dead_processes_go_and_no_others(tmp_path, left):
    """A process may be killed between any two of the calls that make a checkpoint's folder or remove it."""
    stores = {key: Store(tmp_path, key) for key in ("dead", "waiting", "running", "young")}
    for key in ("waiting", "running"):
        assert stores[key].lock()
    stores["waiting"].write({}, {})
    stores["waiting"]._lock.release()
    for key in ("dead", "young"):
        stores[key].folder.mkdir()
        for name in left:
            (stores[key].folder / name).touch()
    for key in ("dead", "waiting", "running"):
        os.utime(stores[key].folder, (time.time() - 7200,) * 2)
    remove_left_behind(tmp_path)
    assert sorted(path.name for path in (tmp_path / PLACE).iterdir()) == ["running", "waiting", "young"]
    assert stores["waiting"].exists() and not Store(tmp_path, "running").lock()


def test_a_place_without_checkpoints_goes(tmp_path):
    (tmp_path / PLACE).mkdir()
    remove_left_behind(tmp_path)
    remove_left_behind(tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- when


def test_a_short_run_writes_none(data_file, monkeypatch):
    monkeypatch.setattr(Checkpoints, "write", lambda *_: pytest.fail("a checkpoint"))
    main.main(words(data_file.parent, save_path=data_file.parent / "r", model="single", resume=False))
    assert not (data_file.parent / "r" / PLACE).exists()


class Written(Exception):
    pass


@pytest.fixture
def kept(data_file, monkeypatch):
    """The checkpoints of a run of `single`, and a clock that stands still unless it is set."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    args, module, _ = main.parse(words(data_file.parent, save_path=data_file.parent / "r", resume=False))
    model = module.Net(12, 4, 3, args)
    return Checkpoints(args, "hash", model, main.Continuum(stream()[0], args), "name", "now"), clock


def test_the_default_is_a_minute_or_ten_seconds_at_a_boundary(kept, monkeypatch):
    checkpoints, clock = kept
    written = []
    monkeypatch.setattr(checkpoints, "write", lambda step: written.append(clock[0]) or checkpoints._schedule(0.0))
    for now, boundary in [(1009, True), (1011, False), (1059, False), (1061, False), (1070, True), (1072, True)]:
        clock[0] = now
        checkpoints.between(1, boundary)
    assert written == [1061, 1072]


def test_the_next_one_waits_fifty_times_as_long_as_the_last_one_took(kept, monkeypatch):
    checkpoints, clock = kept

    def slowly(*_):
        clock[0] += 4

    monkeypatch.setattr(checkpoints.store, "write", slowly)
    checkpoints.write(1)
    assert (checkpoints._soon, checkpoints._late) == (1204, 1204)
    assert checkpoints.life.seconds["checkpoint"] >= 0


@pytest.mark.parametrize("every, steps", [(1, 29), (7, 4), (30, 1), (31, 0), (0, 0)])
def test_checkpoint_every(data_file, monkeypatch, every, steps):
    written = []
    monkeypatch.setattr(Checkpoints, "write", lambda self, step: written.append(step) or setattr(self, "_steps", 0))
    main.main(words(data_file.parent, save_path=data_file.parent / "r", model="single", checkpoint_every=every))
    assert written == ([] if not every else [*range(every, 31, every)])


# ---------------------------------------------------------------- whose it is


def test_the_folder_follows_from_what_decides_the_numbers(data_file):
    def of(**flags):
        return checkpoints.key(main.parse(words(data_file.parent, model="gem", **flags))[0])

    same = [{"threads": 2}, {"log_every": 9}, {"save_path": "x"}, {"data_path": "y"}, {"beta": 0.5}, {"resume": False}]
    assert {of(**flags) for flags in same} == {of()}
    other = [{"seed": 1}, {"lr": 0.2}, {"n_tasks": 2}, {"n_memories": 7}, {"data_file": "other.pt"}]
    assert len({of(), *(of(**flags) for flags in other)}) == 6


@pytest.mark.parametrize("change", [{"threads": 2}, {"log_every": 4}, {"engine": "autograd"}, {"lca": True}])
def test_another_machine_is_refused_with_the_flag_that_differs(stopped, data_file, change):
    stopped()
    ((flag, value),) = change.items()
    was = {"threads": 1, "log_every": 3, "engine": "auto", "lca": False}[flag]
    argv = words(data_file.parent, save_path=data_file.parent / "r", model="single", **change)
    with pytest.raises(UsageError, match=f"another {flag}: {was} there, {value} here; give --{flag} {was}, or"):
        main.main(argv)


def test_other_data_are_refused(stopped, data_file):
    argv = stopped()
    files.save(data_file, *stream(seed=1))
    with pytest.raises(UsageError, match=r"another data_hash: [0-9a-f]{64} there, .*bring that data file back"):
        main.main(argv)


def test_another_program_is_refused(stopped, monkeypatch):
    argv = stopped()
    monkeypatch.setattr(checkpoints, "program", lambda: "another")
    with pytest.raises(UsageError, match=r"another program: .*go back to that version of the program"):
        main.main(argv)


def test_the_program_is_all_that_computes():
    before = checkpoints.program()
    checkpoints.program.cache_clear()
    assert checkpoints.program() == before


def test_a_damaged_checkpoint_is_refused(stopped, data_file):
    argv = stopped()
    file = checkpoint_of(data_file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"cannot be read .its checksum is wrong.; delete it, or give --resume no"):
        main.main(argv)


def test_one_in_use_is_refused_and_left_alone(stopped, data_file, monkeypatch, capsys):
    argv = stopped()
    other = Store(data_file.parent / "r", checkpoint_of(data_file).parent.name)
    assert other.lock()
    with pytest.raises(UsageError, match="is in use by a run of the same command; wait for its end"):
        main.main(argv)
    before = checkpoint_of(data_file).read_bytes()
    monkeypatch.undo()
    main.main([*argv, "--resume", "no", "--checkpoint_every", "2"])
    said = "note: no checkpoint could be written (another run of the same command writes there); the run goes on"
    assert capsys.readouterr().err.count(said) == 1
    assert checkpoint_of(data_file).read_bytes() == before


def test_what_resume_says(stopped, data_file, capsys):
    argv = stopped()
    start = (
        f"note: --resume yes: no checkpoint of this command in {data_file.parent / 'r' / PLACE}; the run starts anew"
    )
    assert capsys.readouterr().err.splitlines() == [start]
    main.main([*argv, "--resume", "no"])
    assert capsys.readouterr().err == (
        "note: there is a checkpoint of this command; --resume yes goes on from it, the next one replaces it\n"
    )
    main.main(argv)
    assert capsys.readouterr().err == "note: the run goes on at step 5 of 30\n"
    assert not (data_file.parent / "r" / PLACE).exists()


def test_a_job_of_a_sweep_resumes_where_it_can_and_starts_anew_where_it_cannot(stopped, data_file, monkeypatch, capsys):
    argv = stopped(resume=False)
    records = data_file.parent / "records"
    monkeypatch.setenv("SWEEP_RECORDS", str(records))
    main.main(argv)
    assert capsys.readouterr().err == "note: the run goes on at step 5 of 30\n"
    stopped(resume=False)
    main.main([*argv, "--log_every", "5"])
    err = capsys.readouterr().err
    assert "another log_every: 3 there, 5 here" in err and err.endswith("; the run starts anew\n")
    assert len(list(records.glob("*.json"))) == 2
    main.main(argv)
    assert capsys.readouterr().err == ""


def test_a_run_that_is_done_again_after_a_kill_leaves_one_record(data_file, monkeypatch):
    """Killed between its record and the removal of its checkpoint."""
    argv = words(data_file.parent, save_path=data_file.parent / "r", model="single", checkpoint_every=8)
    monkeypatch.setattr(Checkpoints, "remove", lambda _: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        main.main(argv)
    monkeypatch.undo()
    first = measured(data_file.parent / "r")
    main.main(argv)
    assert measured(data_file.parent / "r") == first
    assert not (data_file.parent / "r" / PLACE).exists()


def test_a_disk_that_is_full_ends_no_run(data_file, monkeypatch, capsys):
    monkeypatch.setattr(Store, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    argv = words(data_file.parent, save_path=data_file.parent / "r", model="single", checkpoint_every=8, resume=False)
    assert main.main(argv)["status"] == "done"
    assert capsys.readouterr().err == (
        "note: no checkpoint could be written (No space left on device); the run goes on\n"
    )


# ---------------------------------------------------------------- signals


@pytest.fixture
def handlers():
    """As in a program that was started on a terminal."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield lambda: (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "number, word, status", [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
@pytest.mark.parametrize("resume", [True, False])
def test_a_signal_ends_a_run_with_a_checkpoint(data_file, monkeypatch, capsys, handlers, number, word, status, resume):
    learn, steps = single.Net.observe, []

    def observe(*args):
        steps.append(1)
        if len(steps) == 12:
            signal.raise_signal(number)
        learn(*args)

    monkeypatch.setattr(single.Net, "observe", observe)
    argv = words(data_file.parent, save_path=data_file.parent / "r", model="single", resume=resume)
    before = handlers()
    assert main.cli(argv) == status
    assert handlers() == before
    how = "the same command" + ("" if resume else " with --resume yes")
    assert capsys.readouterr().err.splitlines()[-1] == f"main.py: {word} at step 12 of 30; {how} goes on from there"
    assert not list((data_file.parent / "r").glob("*.json"))
    result = main.main([*argv, "--resume", "yes"])
    monkeypatch.undo()
    assert result["grid"] == main.main(argv)["grid"] and len(steps) == 30


def test_a_second_signal_ends_it_at_once(data_file, monkeypatch, capsys, handlers):
    steps = []

    def observe(*_):
        steps.append(1)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        steps.append(2)

    monkeypatch.setattr(single.Net, "observe", observe)
    argv = words(data_file.parent, save_path=data_file.parent / "r", model="single", resume=False)
    assert main.cli(argv) == 130 and steps == [1]
    assert capsys.readouterr().err == "main.py: interrupted; no record was written\n"
    assert list((data_file.parent / "r").iterdir()) == []


def test_a_signal_that_was_ignored_stays_ignored(data_file, monkeypatch, handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    learn = single.Net.observe

    def observe(*args):
        signal.raise_signal(signal.SIGINT)
        learn(*args)

    monkeypatch.setattr(single.Net, "observe", observe)
    assert main.cli(words(data_file.parent, save_path=data_file.parent / "r", model="single")) == 0


# ---------------------------------------------------------------- methods of others


FOREIGN = """
import torch
from model import common


class Net(torch.nn.Module):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__()
        self.net = common.MLP([n_inputs, 8, n_outputs])
        self.opt = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        self.dropout = torch.nn.Dropout(0.2)
        self._hidden, self.anything = 0.0, {anything}

    def forward(self, x, t):
        return self.net(self.dropout(x))

    def observe(self, x, t, y):
        self._hidden += 0.01
        self.opt.zero_grad()
        (torch.nn.functional.cross_entropy(self(x, t), y) * (1 + self._hidden)).backward()
        self.opt.step()
"""


def test_a_foreign_module_goes_on_by_its_attributes(data_file, drop, monkeypatch):
    """Its optimizer, its private attributes and the draws of torch itself included."""
    drop(FOREIGN.format(anything="None"))
    folder = data_file.parent
    main.main(words(folder, save_path=folder / "whole", model=DROPPED_IN))
    Stops(monkeypatch).run(words(folder, save_path=folder / "parts", model=DROPPED_IN), [5, 10, 8])
    assert measured(folder / "whole") == measured(folder / "parts")


STRANGE = """
import argparse
import collections
import copy
import functools
import itertools
import weakref
import torch
from model import common

total = 0
table = collections.defaultdict(lambda: collections.deque(maxlen=4))
first, settings = itertools.count(), type("Settings", (dict,), {{"__getattr__": dict.get}})(a=1)


class Rate:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return 1 / self.calls


class Net(torch.nn.Module):
    everywhere = []
    rate_of_all = Rate()

    def remembers(self, memo=[]):
        memo.append(1)

    def half(self):
        return 0.5

    def whole(self):
        return 1.0

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__()
        self.net = common.MLP([n_inputs, 8, n_outputs])
        self.opt = torch.optim.SGD(self.parameters(), lr=0.1)
        self.steps, self.args = 0, args
        {made}

    def forward(self, x, t):
        return self.net(x)

    def observe(self, x, t, y):
        global total
        factor = 1.0
        self.steps += 1
        self.opt.zero_grad()
        {used}
        (torch.nn.functional.cross_entropy(self(x, t), y) * factor).backward()
        self.opt.step()
"""


@pytest.mark.parametrize(
    "made, used",
    [
        ("self.opt.zero_grad = lambda: self.steps % 4 == 1 and torch.optim.SGD.zero_grad(self.opt)", "pass"),
        ("self.register_buffer('n', torch.zeros(1), persistent=False)", "self.n += 1; factor /= self.n.item()"),
        ("self.rate = Rate()", "factor = self.rate()"),
        (
            "self.ring = torch.zeros(4); self.last = self.ring[-1:]",
            "self.ring[:] = self.ring.roll(1) + 1; factor += self.last.item()",
        ),
        ("self.sums = [0.0]; self.all = {0: self.sums}", "self.sums[0] += 1; factor /= self.all[0][0]"),
        ("self.count = collections.Counter()", "self.count[t] += 1; factor /= self.count[t]"),
        ("self.old = None", "self.old = copy.deepcopy(self.net); factor += float(self.old(x).mean())"),
        (
            "self.old = torch.nn.ModuleList()",
            "self.steps % 4 or self.old.append(copy.deepcopy(self.net)); factor += len(self.old)",
        ),
        (
            "self.omega = 0",
            "[setattr(p, 'omega', getattr(p, 'omega', 0.0) + 1) for p in self.parameters()]; "
            "factor /= self.net.net[0].weight.omega",
        ),
        (
            "self.rate = Rate(); self.rate.net = torch.nn.Dropout(0.5)",
            "self.rate.net.train(self.steps < 4); factor = float(self.rate.net(torch.ones(9)).mean())",
        ),
        (
            "self.heads = [torch.nn.Linear(8, 2)]",
            "self.heads[0].requires_grad_(self.steps < 4); factor += self.heads[0].weight.requires_grad",
        ),
        ("pass", "self.args.lr *= 0.9; factor = self.args.lr"),
        ("self.own = argparse.Namespace(n=0)", "self.own.n += 1; factor /= self.own.n"),
        ("self.begun = True", "factor += hasattr(self, 'begun'); self.__dict__.pop('begun', None)"),
        ("self.act, self.owner = functools.lru_cache(None)(self.half), weakref.ref(Rate)", "factor = self.act()"),
        ("pass", "self.steps == 4 and self.net.net[0].requires_grad_(False); self.opt.zero_grad(set_to_none=True)"),
    ],
)
def test_whatever_a_foreign_module_keeps_comes_back(data_file, drop, monkeypatch, made, used):
    drop(STRANGE.format(made=made, used=used))
    folder = data_file.parent
    main.main(words(folder, save_path=folder / "whole", model=DROPPED_IN))
    Stops(monkeypatch).run(words(folder, save_path=folder / "parts", model=DROPPED_IN), [5, 10, 8])
    assert measured(folder / "whole") == measured(folder / "parts")


@pytest.mark.parametrize(
    "made, used, said",
    [
        (
            "pass",
            "total += 1; factor /= total",
            r"cannot hold total, which belongs to model/\w+.py and not to the method",
        ),
        ("pass", "self.everywhere.append(1)", r"cannot hold Net.everywhere, which belongs to model/\w+.py and not"),
        ("pass", "self.rate_of_all()", r"cannot hold Net.rate_of_all, which belongs to"),
        ("pass", "self.remembers()", r"cannot hold Net.remembers, which belongs to"),
        ("pass", "next(first)", "cannot hold first, which belongs to"),
        ("pass", "table[3].append(1)", "cannot hold table, which belongs to"),
        (
            "self.rule = self.half",
            "self.rule = self.whole",
            "does not take on the attribute rule; make it in the constr",
        ),
        (
            "pass",
            "self.steps == 1 and self.net.register_forward_hook(print)",
            "does not take on its hooks; make them in",
        ),
        (
            "self.free = set(range(64))",
            "self.steps < 4 and [self.free.pop() for _ in range(9)]; self.free.add(3 * self.steps)",
            "the order of",
        ),
        ("pass", "self.__dict__['old'] = copy.deepcopy(self.net)", "attribute old, which a fresh method does not have"),
        (
            "self.old = None",
            "self.old = torch.nn.Sequential(torch.nn.Linear(3, 3))",
            r"does not take the state on \(RuntimeError: Error.*old.0.weight",
        ),
        (
            "self.old = []",
            "self.old.append(copy.deepcopy(self.net))",
            "has the state of the attribute old, which a fresh",
        ),
        (
            "pass",
            "self.opt = torch.optim.SGD(self.net.net[2:].parameters(), lr=0.1)",
            "the state of the attribute opt, which",
        ),
        ("pass", "self.pair = Rate()", "has the state of the attribute pair, which a fresh method does not have"),
    ],
)
def test_no_checkpoint_is_written_that_could_not_be_read(data_file, drop, capsys, made, used, said):
    """It is found out as soon as it is so, and the run goes on."""
    drop(STRANGE.format(made=made, used=used))
    folder = data_file.parent
    main.main(words(folder, save_path=folder / "r", model=DROPPED_IN, checkpoint_every=3))
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(rf"note: no checkpoint could be written \(.*{said}.*\); the run goes on", told), told


@pytest.mark.parametrize(
    "made",
    [
        "self.net = torch.nn.Sequential(torch.nn.LazyLinear(n_outputs))",
        "self.node = functools.reduce(lambda inside, _: type('Node', (Rate,), {'inside': inside})(), range(9), None)",
        "self.odd = settings",
        "torch.set_num_threads(2); torch.rand(600, 600) @ torch.rand(600, 600)",
    ],
)
def test_whatever_a_foreign_module_is_made_of_it_runs(data_file, drop, made, monkeypatch):
    """Also where it cannot be held; and a trial does not wait for threads that a fork leaves behind."""
    drop(STRANGE.format(made=made, used="pass"))
    folder, threads = data_file.parent, torch.get_num_threads()
    monkeypatch.setattr(trial, "SECONDS", 10.0)
    try:
        assert main.main(words(folder, save_path=folder / "r", model=DROPPED_IN, resume=False))["status"] == "done"
        if "odd" not in made:
            main.main(words(folder, save_path=folder / "s", model=DROPPED_IN, checkpoint_every=9))
    finally:
        torch.set_num_threads(threads)


def test_a_trial_disturbs_nothing(data_file, drop, capsys):
    """A constructor that draws, counts and prints does so in another process."""
    drop(STRANGE.format(made="print(torch.rand(1), 'made'); self.everywhere.append(1)", used="factor = torch.rand(1)"))
    folder = data_file.parent
    main.main(words(folder, save_path=folder / "one", model=DROPPED_IN, checkpoint_every=0))
    main.main(words(folder, save_path=folder / "two", model=DROPPED_IN, checkpoint_every=3))
    assert capsys.readouterr().out.count("made") == 2
    (record, *others), (again, *those) = measured(folder / "one"), measured(folder / "two")
    assert record["grid"] == again["grid"] and others == those


def test_what_a_checkpoint_cannot_hold_is_told_before_training_only_if_one_was_asked_for(data_file, drop, capsys):
    drop(FOREIGN.format(anything="iter([])"))
    folder = data_file.parent
    for flags in ({"resume": True}, {"resume": False, "checkpoint_every": 3}):
        with pytest.raises(UsageError, match="cannot hold the attribute anything, a list_iterator; give it checkpoint"):
            main.main(words(folder, save_path=folder / "r", model=DROPPED_IN, **flags))
    main.main(words(folder, save_path=folder / "r", model=DROPPED_IN, resume=False))
    assert "note: no checkpoint" not in capsys.readouterr().err
    (record,) = (folder / "r").glob("*.json")
    assert json.loads(record.read_text())["status"] == "done"
