"""scripts/sweep.py: which jobs a command means, what is kept of them, and what survives a crash."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import main
from data import files
from model import UsageError
from results import RecordError, record
from results.reading import records
from scripts import sweep as program
from scripts.sweeping import jobs, process, selection
from scripts.sweeping.store import Store

ROOT = Path(__file__).parents[2]
VOLATILE = ("seconds", "peak_memory_mb", "started", "git", "versions", "threads")

distributed = pytest.importorskip("distributed")


def sweep(*words, cwd, code=0, stdin=None, env=None):
    """Run the command; (stdout, stderr)."""
    command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), *map(str, words)]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def grid(data_file, *more):
    return ["--data_path", data_file.parent, "--data_file", data_file.name, "--n_memories", 5, *more]


def lasting(run):
    """What of a record is the same whenever and wherever the run is made."""
    return {key: value for key, value in run.items() if key not in VOLATILE}


def facts(folder):
    """{job: what lasts of its record}; each job has exactly one."""
    found = {}
    for path in Path(folder).glob("[!.]*/*.json"):
        assert path.parent.name not in found
        found[path.parent.name] = lasting(records.read(path))
    return found


def plain(words, monkeypatch, folder):
    """The same of the plain command lines, run one after the other in ``folder``."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    found, _ = jobs.read({}, jobs.grouped([str(word) for word in words]))
    return {job.name: lasting(json.loads(record.to_json(main.main(list(job.argv))))) for job in found}


def names(*words, **files):
    return [job.name for job in jobs.read(files, jobs.grouped(list(words)))[0]]


def commands(*words, **files):
    return [" ".join(job.argv) for job in jobs.read(files, jobs.grouped(list(words)))[0]]


# ---- command lines and grids


def test_grid():
    assert commands("--model", "single", "gem", "--seed", "0..1", "--n_memories=3") == [
        "--model single --seed 0 --n_memories 3 --threads 1",
        "--model single --seed 1 --n_memories 3 --threads 1",
        "--model gem --seed 0 --n_memories 3 --threads 1",
        "--model gem --seed 1 --n_memories 3 --threads 1",
    ]


@pytest.mark.parametrize(
    "text, wanted", [("0..3", "0 1 2 3"), ("5..5", "5"), ("0..10..5", "0 5 10"), ("-1..1", "-1 0 1"), ("1..2.5", None)]
)
def test_ranges(text, wanted):
    assert jobs.values("--seed", [text]) == (wanted.split() if wanted else [text])


@given(st.lists(st.tuples(st.sampled_from(["lr", "seed", "n_epochs"]), st.integers(1, 99)), max_size=4))
def test_a_line_means_the_same_as_the_grid(pairs):
    words = [word for name, value in pairs for word in (f"--{name}", str(value))]
    assert names("--model", "single", *words) == names(lines="--model single " + " ".join(words))


def test_lines_comments_programs_and_continuations():
    text = """
    # the reference's way
    python main.py --model single \\
        --seed 1   # a comment
    CUDA_VISIBLE_DEVICES=0 python3 ../main.py --model Agem --n_memories 2
    --model ewc --seed 0..1 --n_memories 2
    """
    assert commands(lines=text) == [
        "--model single --seed 1 --threads 1",
        "--model Agem --n_memories 2 --threads 1",
        "--model ewc --seed 0 --n_memories 2 --threads 1",
        "--model ewc --seed 1 --n_memories 2 --threads 1",
    ]
    assert len(names("--seed", "0..2", lines="--model single\n--model single --seed 7 --lr 0.1")) == 6


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("--seed 5\n--seed 6 \\", ["--seed 5", "--seed 6"]),
        ("--seed 0 # note \\\n--seed 1", ["--seed 0", "--seed 1"]),
        ("--seed 0 \\\n  --lr 1 # a note\n#--seed 1\n--seed 2", ["--seed 0 --lr 1", "--seed 2"]),
        ("--data_path /data/run#1/ --lr 0.1 #x", ["--data_path /data/run#1/ --lr 0.1"]),
        ("--data_path 'a #b' --raw_path \"c #d\"#e \\# # f", ["--data_path a #b --raw_path c #d#e #"]),
    ],
)
def test_comments_are_as_in_a_shell(text, wanted):
    assert [" ".join(words) for _, words in jobs.lines(text, "lines")] == wanted


def test_the_name_is_what_is_computed():
    same = [
        ["--model", "gdp", "--n_memories", "10", "--lr", "0.10"],
        ["--lr", "1e-1", "--n_memories=10.0", "--model", "agem_closed", "--threads", "1"],
        ["--model", "AGEM_CLOSED", "--n_memories", "10", "--lr", "0.1", "--save_path", "elsewhere", "--seed", "0"],
        ["--model", "agem_closed", "--n_memories", "10", "--lr", "0.1", "--memory_strength", "10"],  # not used
        ["--model", "agem_closed", "--n_memories", "10", "--lr", "0.1", "--data_path", "./data", "--n_epochs", "1"],
    ]
    assert len({name for words in same for name in names(*words)}) == 1
    others = [["--lr", "0.2"], ["--seed", "1"], ["--data_file", "x.pt"], ["--data_path", "d"], ["--threads", "2"]]
    base = ["--model", "single"]
    assert len({names(*base, *words)[0] for words in [[], *others]}) == 1 + len(others)


SPELLINGS = ("d", "d/", "./d", "d//", "d/.", "x/../d", "../here/d", "{here}/d", "link", "link/", "../{sister}/here/d")


def test_the_name_does_not_depend_on_how_a_place_is_spelled(tmp_path, monkeypatch):
    here = tmp_path / "here"
    for folder in ("d", "x", "~", "a b"):
        (here / folder).mkdir(parents=True)
    (here / "link").symlink_to("d")
    (tmp_path / "sister").symlink_to(tmp_path)
    monkeypatch.chdir(here)
    spellings = [text.format(here=here, sister="sister") for text in SPELLINGS]
    assert len(names("--model", "single", "--data_path", *spellings)) == 1
    elsewhere = ["--raw_path", "x", "./x", "--tensorboard", "x", "../x", "--save_path", "x", "d/"]
    assert names("--model", "single", "--data_path", "d", *elsewhere) == names("--model", "single", "--data_path", "d")
    others = [".", "..", "x", "~", "a b", str(Path.home()), "results", "results/data", "output"]
    assert len(names("--model", "single", "--data_path", "d", *others)) == 1 + len(others)
    assert names("--model", "single", "--data_path", ".") == names("--model", "single", "--data_path", "")
    before = names("--model", "single", "--data_path", "d")
    monkeypatch.chdir("x")
    assert names("--model", "single", "--data_path", "../d") == before


def test_the_name_of_a_job_on_the_checkouts_own_data_is_the_same_in_every_checkout(tmp_path, monkeypatch):
    """So that results can be moved with the checkout, or fetched from another machine."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(ROOT)
    before = names("--model", "single")
    assert before == ["single-d427a544d85255dd"]
    monkeypatch.setattr(jobs, "ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert names("--model", "single") == names("--model", "single", "--data_path", f"{tmp_path}/data/") == before


def test_a_foreign_method_keeps_all_flags(tmp_path, monkeypatch):
    import model

    (tmp_path / "stranger.py").write_text("class Net: pass\n")
    monkeypatch.setattr(model, "__path__", [*model.__path__, str(tmp_path)])
    assert len(names("--model", "stranger", "--n_memories", "1", "2", "--beta", "0.1", "0.2")) == 4


def test_what_is_left_out_is_said():
    found, notes = jobs.read({}, {"--model": ["single"], "--memory_strength": ["0..2"], "--save_path": ["x"]})
    assert len(found) == 1
    assert notes[0].startswith("2 command lines left out: each computes the same as another (given twice, spelled in")
    assert "--save_path" in notes[1]


@pytest.mark.parametrize(
    "text, message",
    [
        ("--model single\n--lr -1", "lines:2: --lr -1: out of range"),
        ("--seed", "lines:1: --seed: has no value"),
        ("--seed 3..1", "--seed 3..1: an empty range"),
        ("gem --seed 1", "'gem': a command line begins with a flag"),
        ("--seed 0 > log", "--seed >: not a whole number"),
        ("--see 0", "--see: in a sweep flags are written in full"),
        ("--nonsense 0", "--nonsense"),
        ("--model 'gem", "lines:1: No closing quotation"),
        ("--model nothing", "no such method"),
        ("--help yes", "--help"),
        ("--model single \\\n# --lr 1\n--seed 0", "lines:2: a comment inside a continued command"),
        ("--seed 0..99999999999", "lines:1: --seed 0..99999999999: 100,000,000,000 command lines"),
        ("--seed 0..1 \n--seed 0..99998", "lines:2: this line and those before it: 100,001 command lines"),
        ("--seed 0..999 --lr 1..999", "--seed --lr: 999,000 command lines; a sweep takes at most 100,000"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UsageError) as error:
        jobs.read({"lines": text}, {})
    assert message in str(error.value)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--retries", "-1"], "--retries -1: out of range"),
        (["--workers", "0", "--seed", "1"], "--workers 0: out of range"),
        (["--memory_limit", "much", "--seed", "1"], "--memory_limit much: not a size"),
        (["--slurm", "queue", "--seed", "1"], "--slurm queue: give KEY=VALUE"),
        (["--out", "x"], "no jobs"),
        (["absent.txt"], "absent.txt: cannot be read"),
        (["best", "absent"], "absent: no such folder"),
        (["--seed", "1", "--out", "file"], "file: is a file"),
        (["--seed", "1", "--out", "file"], "--out file"),
        (["--seed", "1", "--out", ""], "--out '': no folder"),
        (["--memory_limit", "0.0000001", "--seed", "1"], "--memory_limit 0.0000001: not a size"),
        (["--memory_limit", "4", "GB", "--seed", "1"], "--memory_limit 4 GB: has a space in it; give 4GB"),
        (["--memory_limit", "9" * 320 + "GB", "--seed", "1"], f"--memory_limit {'9' * 60}...: not a size of memory"),
        (
            ["--retries", "9" * 400, "--seed", "1"],
            f"--retries {'9' * 60}...: out of range; give a number from 0 to 1000",
        ),
        (["--workers", "1000000000", "--seed", "1"], "--workers 1000000000: out of range; give a number from 1 to"),
        (
            ["--workers", "10001", "--slurm", "--seed", "1"],
            "--workers 10001: out of range; give a number from 1 to 10000",
        ),
        (["--gpus", "1001", "--seed", "1"], "--gpus 1001: out of range; give a number from 0 to 1000"),
        (["--workers", "9" * 5000, "--seed", "1"], "--workers: invalid int value: '999"),
        (["absent.txt", "--out", "x", "b.txt"], "absent.txt: cannot be read"),
        (["binary"], "binary: is no text; give a file of command lines"),
        (["--slurm", "--scheduler", "tcp://h:1", "--seed", "1"], "give one"),
    ],
)
def test_wrong_commands(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("binary").write_bytes(b"--seed 1 --data_path a\0b")
    assert program.cli(words) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == "" and len(err) < 300


def test_files_among_flags_and_with_a_byte_order_mark(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("--seed 1", "utf-8-sig")
    Path("b.txt").write_text("--seed 2")
    assert program.cli(["a.txt", "--out", "x", "b.txt", "--print"]) == 0
    assert capsys.readouterr().out.count(" to do\n") == 2


def test_a_reader_that_goes_ends_a_list_quietly(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), "--seed", "0..200", "--print"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == ""
    assert listing.returncode == 0


@pytest.mark.parametrize("missing, words", [("distributed", []), ("dask_jobqueue", ["--slurm"])])
def test_a_missing_library_is_one_sentence(tmp_path, monkeypatch, capsys, missing, words):
    monkeypatch.setitem(sys.modules, missing, None)
    assert program.cli(["--model", "single", "--out", str(tmp_path), *words]) == 2
    assert "not installed: pip install" in capsys.readouterr().err


# ---- the folder of results


def a_job(*words):
    return jobs.of_line(["--model", "single", *words])


def content(job, status="done", **changed):
    return json.dumps({"format": 1, "status": status, "args": {**job.args, **changed}}).encode()


def test_a_job_is_kept_once_and_complete(tmp_path):
    store, job = Store(tmp_path / "out"), a_job("--lr", "0.1")
    assert store.status(job) is None
    store.prepare()
    store.fail(job, b"first attempt")
    assert store.add(job, {"a.json": content(job), "output": b"text"}) and store.status(job) == "done"
    assert not store.add(job, {"b.json": content(job)})
    assert sorted(p.name for p in store.folder.rglob("*")) == ["a.json", "output", job.name]


def test_what_is_no_record_of_the_job_is_set_aside(tmp_path, capsys):
    store, job = Store(tmp_path), a_job()
    malformed = [json.dumps({"format": 1, "status": "done", "args": args}).encode() for args in ([], 3, {"model": []})]
    olds = [b'{"format": 1, "sta', content(job, lr=0.25), *malformed]
    for old in olds:
        if store.path(job.name).exists():
            shutil.rmtree(store.path(job.name))
        store.path(job.name).mkdir()
        (store.path(job.name) / "a.json").write_bytes(old)
        assert store.status(job) is None
        assert store.add(job, {"b.json": content(job, "diverged")})
        assert store.status(job) == "diverged"
        assert f"note: {store.path(job.name)} has no record of its job" in capsys.readouterr().err
    aside = sorted(tmp_path.glob(f".{job.name}.*.replaced"))
    assert [(path / "a.json").read_bytes() for path in aside] == olds


def test_a_folder_that_has_gone_is_one_sentence(tmp_path):
    with pytest.raises(RecordError, match=r"\.failed: cannot be written"):
        Store(tmp_path / "gone").fail(a_job(), b"text")


def test_a_flag_added_later_changes_no_name(tmp_path, monkeypatch):
    import dataclasses

    before = a_job("--lr", "0.1")
    monkeypatch.setitem(jobs.FLAGS, "later", dataclasses.replace(jobs.FLAGS["n_hiddens"], name="later", default=3))
    after = jobs.Job("", (), {**before.args, "later": 3})
    assert f"single-{jobs._digest(after.args)}" == before.name
    assert f"single-{jobs._digest({**after.args, 'later': 4})}" != before.name
    assert after.made({"args": before.args})


def test_left_overs_of_a_killed_sweep_go(tmp_path):
    for name, age in ((".old.partial", 7200), (".new.partial", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    Store(tmp_path).prepare()
    assert [p.name for p in tmp_path.iterdir()] == [".new.partial"]


# ---- one process


def task(argv, cwd, **more):
    return {"argv": [str(word) for word in argv], "root": str(ROOT), "cwd": str(cwd), "memory": None, **more}


def test_the_record_is_that_of_the_plain_command(data_file, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    data_file.rename(tmp_path / "own" / "tiny.pt")
    argv = ["--model", "gem", "--n_memories", "5", "--data_path", "own/", "--data_file", "tiny.pt", "--threads", "1"]
    result = process.run(task(argv, tmp_path))
    assert result["code"] == 0 and b"Final Accuracy" in result["output"]
    texts = [content for name, content in result["files"].items() if name.endswith(".json")]
    assert [lasting(json.loads(text)) for text in texts] == list(plain(argv, monkeypatch, tmp_path).values())


def test_folders_of_a_command_are_those_where_it_was_given(data_file, tmp_path):
    pytest.importorskip("tensorboard")
    argv = ["--model", "single", "--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--threads", "1"]
    argv += ["--tensorboard", "./a board/", "--raw_path", "x/../raw"]
    here = tmp_path / "new" / "here"  # a host without it
    result = process.run(task(argv, here))
    assert result["code"] == 0, result
    assert [path.name for path in here.iterdir()] == ["a board"] and list((here / "a board").glob("single_*/event*"))
    (text,) = [content for name, content in result["files"].items() if name.endswith(".json")]
    assert [json.loads(text)["args"][name] for name in ("tensorboard", "raw_path")] == ["./a board/", "x/../raw"]


def test_a_host_without_the_folder_of_the_command(tmp_path):
    (tmp_path / "file").touch()
    result = process.run(task(["--model", "single"], tmp_path / "file" / "here"))
    assert result["code"] is None and "file/here" in result["reason"] and "Not a directory" in result["reason"]


def checkout(folder, text):
    """A program in place of ours, whose main.py runs ``text``."""
    body = "".join(f"    {line}\n" for line in text.splitlines())
    (folder / "main.py").write_text(f"import os, sys, time\nif __name__ == '__main__':\n{body}")
    launcher = folder.joinpath(*process.LAUNCHER)
    launcher.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT.joinpath(*process.LAUNCHER), launcher)
    return str(folder)


def test_every_job_begins_from_the_same_state(tmp_path):
    """What one job does to its process, its folder and its environment is gone for the next one."""
    root = checkout(tmp_path, "print(os.getpid(), os.getcwd(), sys.argv[1:], vars(os).setdefault('seen', sys.argv[1]))\n"
                              "print(os.environ.setdefault('MARK', sys.argv[1]), sys.stdin.read(), flush=True)\n"
                              "os.chdir('/')\nsys.exit(int(sys.argv[1]))")  # fmt: skip
    words = []
    for number in ("4", "5"):
        result = process.run(task([number, "a 'b'"], tmp_path, root=root))
        pid, *rest = result["output"].decode().split()
        assert result["code"] == int(number) and result["reason"] is None
        assert rest == [str(tmp_path), f"['{number}',", '"a', "'b'\"]", number, number]
        words.append(pid)
    assert len({*words, str(os.getpid())}) == 3


@pytest.mark.parametrize(("value", "of_job"), [("65536", "None"), ("4096", "4096")])
def test_a_job_has_not_the_memory_settings_of_a_worker(tmp_path, monkeypatch, value, of_job):
    """Those that dask gives its workers; with them a job takes twice as long. The user's own it has."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", value)
    root = checkout(tmp_path, "print(os.environ.get('MALLOC_TRIM_THRESHOLD_'))")
    assert process.run(task([], tmp_path, root=root))["output"].decode() == of_job + "\n"


def test_changed_code_is_loaded_anew(tmp_path):
    for word in ("one", "another"):
        root = checkout(tmp_path, f"print('{word}')")
        assert process.run(task([], tmp_path, root=root))["output"].decode() == word + "\n"


def test_a_program_that_cannot_be_loaded_says_why(tmp_path):
    root = checkout(tmp_path, "pass")
    (tmp_path / "main.py").write_text("import missing_library")
    result = process.run(task([], tmp_path, root=root))
    assert result["code"] == 1 and b"No module named 'missing_library'" in result["output"]


@pytest.mark.parametrize("whom", ["job", "launcher"])
def test_a_killed_process_and_the_next_job(tmp_path, whom, monkeypatch):
    """A job's end by a signal is told, a launcher's too, nothing of either goes on, and the next job runs."""
    monkeypatch.setattr(process, "POLL", 0.05)
    victim = {"job": "os.getpid()", "launcher": "os.getppid()"}[whom]
    root = checkout(tmp_path, f"import signal\nopen('{tmp_path}/pid', 'w').write(str(os.getpid()))\n"
                              f"os.kill({victim}, signal.SIGKILL) if sys.argv[1] == 'die' else print('alive')\n"
                              "time.sleep(60 if sys.argv[1] == 'die' else 0)")  # fmt: skip
    result = process.run(task(["die"], tmp_path, root=root))
    if whom == "job":
        assert (result["code"], result["reason"]) == (-signal.SIGKILL, None)
    else:
        assert result["code"] is None and "was killed" in result["reason"]
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not going_on(pid), 30)  # a process that dies closes its files a moment before it is dead
    assert process.run(task(["live"], tmp_path, root=root))["output"] == b"alive\n"


def test_limits_of_a_process(tmp_path, data_file, monkeypatch):
    checkout(tmp_path, "kept = bytearray(b'x' * 300_000_000)\ntime.sleep(60)")
    monkeypatch.setattr(process, "POLL", 0.1)
    result = process.run(task([], tmp_path, root=str(tmp_path), memory=200_000_000))
    assert result["code"] is None and "raise --memory_limit, now 0.20 GB" in result["reason"]
    monkeypatch.setenv("SWEEP_ROOT", "/nowhere")
    assert "SWEEP_ROOT" in process.run(task([], tmp_path))["reason"]


# ---- whole sweeps


def test_continues_and_lists(data_file, tmp_path, monkeypatch, capsys):
    words = [*grid(data_file, "--model", "single", "gem"), "--out", "out", "--workers", 2]
    words = [str(word) for word in words]

    def again(*more):
        assert program.cli([*words, *more]) == 0
        return capsys.readouterr().out

    truth = plain(words[: words.index("--out")], monkeypatch, tmp_path)
    capsys.readouterr()
    assert again("--print").count(" to do\n") == 2 and not (tmp_path / "out").exists()
    out, err = sweep(*words, cwd=tmp_path)
    assert out.startswith("2 jobs: 0 finished before, 2 now, 0 failed;")
    assert "[1/2] done in " in err and " left: python main.py --data_path " in err
    assert facts(tmp_path / "out") == truth
    assert again().startswith("2 jobs: 2 finished before, 0 now, 0 failed;")
    printed = again("--print")
    assert printed.count(" done\n") == 2
    shutil.rmtree(tmp_path / "out" / next(iter(truth)))
    assert sweep("-", "--out", "out", stdin=printed, cwd=tmp_path)[0].startswith("2 jobs: 1 finished before, 1 now")
    assert facts(tmp_path / "out") == truth


PLACES = ("./", "..", "../beside", "results", "results/data", "output", "records/", "x/../inner", "~", "a b", "link/")


@pytest.fixture
def places(data_file, tmp_path, monkeypatch):
    """A working folder with a data file in each of PLACES, and the words of a sweep over them."""
    here = tmp_path / "here"
    for folder in ("x", "../beside", "results/data", "output", "records", "inner", "~", "a b", "../target"):
        (here / folder).mkdir(parents=True, exist_ok=True)
    (here / "link").symlink_to("../target")
    for place in PLACES[:1] + PLACES[2:]:
        shutil.copy(data_file, here / place)
    monkeypatch.chdir(here)
    return ["--model", "single", "--data_file", data_file.name, "--workers", "2", "--data_path"]


def test_data_may_lie_anywhere(places, tmp_path, monkeypatch, capsys):
    words, here = [*places, *PLACES], Path.cwd()

    def standing():
        return {path for path in tmp_path.rglob("*") if "sweep of it" not in path.parts}

    before = standing()
    out, _ = sweep(*words, "--out", "./results/sweep of it/", cwd=here)
    n = len(PLACES)
    assert out.startswith(f"{n} jobs: 0 finished before, {n} now, 0 failed")
    assert {path.name for path in standing() - before} == {"tiny.pt.identity.json"}
    for job in Path("results/sweep of it").iterdir():
        assert sorted(path.suffix for path in job.iterdir()) == ["", ".json", ".pt", ".txt"]
    assert program.cli([*words, "--out", f"{here}/x/../results/sweep of it"]) == 0
    assert capsys.readouterr().out.startswith(f"{n} jobs: {n} finished before, 0 now")
    wanted = plain([word for word in words if word not in ("--workers", "2")], monkeypatch, here)
    assert facts(here / "results" / "sweep of it") == wanted


def test_two_sweeps_at_once_keep_one_result_of_each_job(places, tmp_path):
    both = [start(*places, place, "--seed", "0..1", "--out", "out", cwd=Path.cwd()) for place in (".", "../here/")]
    for sweeping in both:
        text = sweeping.communicate(timeout=120)[0]
        assert sweeping.returncode == 0 and "note:" not in text, text
    assert len(list(Path("out").iterdir())) == 2


def test_failures_and_divergence(data_file, tmp_path):
    (data_file.parent / "bad.pt").write_text("no data")
    lines = "\n".join(
        [
            "--model single --data_file bad.pt",
            f"--model single --data_file {data_file.name} --lr 1e30",
            f"--model single --data_file {data_file.name}",
        ]
    )
    words = ["-", "--data_path", data_file.parent, "--out", "out", "--retries", 1]
    out, err = sweep(*words, cwd=tmp_path, stdin=lines, code=1)
    assert out.startswith("3 jobs: 0 finished before, 2 now, 1 failed; 1 diverged;")
    assert err.count("trying again") == 1
    report = err[err.index("\nfailed, exit status 2: python main.py --model single --data_file bad.pt") :]
    assert "\n    main.py: " in report and "bad.pt" in report and ".failed" in report
    assert sorted(run["status"] for run in facts(tmp_path / "out").values()) == ["diverged", "done"]


def descendants(pid):
    import psutil

    return psutil.Process(pid).children(recursive=True)


def wait_for(condition, seconds=100):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def start(*words, cwd, **more):
    command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=cwd, preexec_fn=_interruptible, **pipes, **more)


def _interruptible():
    """A shell's background jobs ignore SIGINT, and so do their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def training(sweeping):
    """The processes of a running sweep's jobs."""
    return [p for p in descendants(sweeping.pid) if alive(p) and str(ROOT / "main.py") in words_of(p)]


def alive(process_):
    import psutil

    try:
        return process_.is_running() and process_.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def going_on(pid):
    try:
        return alive(psutil.Process(pid))
    except psutil.Error:  # init has reaped it
        return False


def words_of(process_):
    import psutil

    try:
        return process_.cmdline()
    except psutil.Error:
        return []


def test_a_killed_worker_and_a_killed_sweep(data_file, tmp_path, monkeypatch):
    words = grid(data_file, "--model", "single", "--lr", 0.1, "--seed", "0..3")
    truth = plain(words, monkeypatch, tmp_path)
    words += ["--workers", 2]

    sweeping = start(*words, "--out", "killed", cwd=tmp_path)
    wait_for(lambda: training(sweeping))
    orphan = training(sweeping)[0]
    victim = orphan.parent()
    victim.send_signal(signal.SIGKILL)
    wait_for(lambda: not alive(orphan))  # a job dies with its worker
    out = sweeping.communicate(timeout=60)[0]
    assert sweeping.returncode == 0, out
    assert facts(tmp_path / "killed") == truth

    sweeping = start(*words, "--out", "continued", cwd=tmp_path)
    wait_for(lambda: list((tmp_path / "continued").glob("single-*/*.json")))
    family = descendants(sweeping.pid)
    sweeping.kill()
    sweeping.communicate()
    wait_for(lambda: not any(map(alive, family)))  # nothing is left behind
    kept = len(facts(tmp_path / "continued"))
    assert sweep(*words, "--out", "continued", cwd=tmp_path)[0].startswith(
        f"4 jobs: {kept} finished before, {4 - kept}"
    )
    assert facts(tmp_path / "continued") == truth


def test_an_interruption_is_one_sentence_and_leaves_nothing_running(data_file, tmp_path):
    words = grid(data_file, "--model", "single", "--n_epochs", 10**6, "--seed", "0..1", "--workers", 1)
    sweeping = start(*words, cwd=tmp_path, start_new_session=True)
    wait_for(lambda: training(sweeping))
    family = descendants(sweeping.pid)
    os.killpg(sweeping.pid, signal.SIGINT)  # as Ctrl-C on a terminal
    out = sweeping.communicate(timeout=60)[0]
    assert sweeping.returncode == 130
    assert out.splitlines()[1:] == ["sweep.py: interrupted; the same command continues"]
    wait_for(lambda: not any(map(alive, family)), seconds=10)


@pytest.mark.slow
def test_a_running_cluster_without_common_disk(data_file, tmp_path):
    """Scheduler and worker are processes of their own; the worker's folder and checkout are not the sweep's."""
    there, here, checkout = tmp_path / "there", tmp_path / "here", tmp_path / "checkout"
    for folder in (there, here, checkout):
        folder.mkdir()
    for entry in ("main.py", "experiment", "scripts", "model", "metrics", "results"):
        (checkout / entry).symlink_to(ROOT / entry)
    shutil.copytree(ROOT / "data", checkout / "data", ignore=shutil.ignore_patterns("*.pt", "raw", "__pycache__"))
    shutil.copy(data_file, checkout / "data")
    address = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": there}
    dask = [sys.executable, "-m", "dask"]
    common = ["--scheduler-file", str(address)]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address",
         "127.0.0.1:0", *common], **quiet,
    )  # fmt: skip
    worker = subprocess.Popen(
        [*dask, "worker", *common, "--nthreads", "1", "--no-dashboard", "--local-directory", str(there)],
        env={**os.environ, "SWEEP_ROOT": str(checkout)}, **quiet,
    )  # fmt: skip
    try:
        wait_for(lambda: address.exists() and address.read_text())
        where = json.loads(address.read_text())["address"]
        words = ["--model", "single", "gem", "--n_memories", 5, "--data_file", "tiny.pt"]
        out, _ = sweep(*words, "--scheduler", where, "--out", "out", cwd=here)
        assert out.startswith("2 jobs: 0 finished before, 2 now, 0 failed")
        found = facts(here / "out")
        assert sorted(run["model"] for run in found.values()) == ["gem", "single"]
        assert {run["args"]["data_path"] for run in found.values()} == {"data/"}
        for folder in (here / "out").iterdir():
            assert {p.suffix for p in folder.iterdir()} == {".json", ".pt", ".txt", ""}
        assert not list(there.rglob("*_tiny.pt_*"))

        words = ["--data_file", "tiny.pt", "--n_epochs", 10**6, "--scheduler", where, "--out", "lost"]
        sweeping = start(*words, cwd=here)
        # The launcher waits for work since the sweep before; a job is a second process.
        wait_for(lambda: sum(str(checkout / "main.py") in words_of(p) for p in descendants(worker.pid)) > 1)
        scheduler.kill()
        out = sweeping.communicate(timeout=60)[0]
        assert sweeping.returncode == 2
        assert out.splitlines()[1:] == [f"sweep.py: --scheduler {where}: lost; the same command continues"]
        assert list((here / "lost").iterdir()) == []
    finally:
        for running in (worker, scheduler):
            running.terminate()
            running.wait(20)


# ---- the best setting


def kept(folder, model="gem", lr=0.1, seed=0, final=0.5, status="done", data_hash="h", **args):
    content = {
        "format": 1,
        "status": status,
        "model": model,
        "args": {"model": model, "data_file": "d.pt", "data_path": "data/", "lr": lr, "seed": seed, "n_tasks": 3,
                 "first_task": 0, "validation": 0, "threads": 1, "cuda": False, **args},
        "protocol": {"data_hash": data_hash},
        "baseline": [0.1, 0.1, 0.1],
        "final": final,
    }  # fmt: skip
    path = folder / f"{model}-{lr}-{seed}-{len(list(folder.glob('*')))}" / "a.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def best(folder, capsys):
    assert selection.main([str(folder)]) == 0
    return capsys.readouterr().out


def test_best_is_the_mean_over_seeds(tmp_path, capsys):
    for seed, (low, high) in enumerate([(0.5, 0.9), (0.6, 0.1)]):
        kept(tmp_path, lr=0.1, seed=seed, final=low)
        kept(tmp_path, lr=0.3, seed=seed, final=high)
        kept(tmp_path, lr=3.0, seed=seed, final=0.99, status="diverged" if seed else "done")
        kept(tmp_path, model="single", lr=0.01, seed=seed)
    lines = best(tmp_path, capsys).splitlines()
    assert "test sets of tasks 0-2, which --first_task 3 keeps out of the table" in lines[0]
    assert lines[1] == "#   0.5500, sd 0.0707  --lr 0.1  <- chosen"
    assert lines[2] == "#   0.5000, sd 0.5657, difference -0.0500 [-5.7678, +5.6678]  --lr 0.3"
    assert lines[3] == "#   diverged  --lr 3.0"
    assert lines[4] == "#   --lr 0.1 is the smallest of the 3 values tried: the best may lie beyond"
    assert lines[5] == "--model gem --data_file d.pt --lr 0.1 --first_task 3"
    found, _ = jobs.read({"best": "\n".join(lines)}, {"--seed": ["0..1"], "--n_memories": ["5"]})
    assert [(job.args["model"], job.args["first_task"], job.args["n_tasks"]) for job in found] == [
        *[("gem", 3, None)] * 2,
        *[("single", 3, None)] * 2,
    ]


@pytest.mark.parametrize(
    ("name", "finals", "side"),
    [
        ("lr", {0.01: 0.5, 0.1: 0.9}, "largest of the 2"),
        ("lr", {0.01: 0.5, 0.1: 0.9, 1.0: 0.2}, None),
        ("lr", {0.01: 0.9}, None),
        ("memory_strength", {0.0: 0.9, 0.5: 0.2}, None),  # none can be smaller
        ("memory_strength", {0.1: 0.9, 0.5: 0.2}, "smallest of the 2"),
        ("its_own", {0: 0.5, 1: 0.4, 2: 0.9}, "largest of the 3"),
        ("gem_variant", {"rows": 0.9, "weighted": 0.2}, None),
        ("parity", {False: 0.9, True: 0.2}, None),
    ],
)
def test_best_says_when_it_lies_at_the_edge_of_what_was_tried(tmp_path, capsys, name, finals, side):
    for value, final in finals.items():
        kept(tmp_path, model="gem_group", final=final, **{name: value})
    said = [line for line in best(tmp_path, capsys).splitlines() if "tried" in line]
    assert len(said) == (side is not None) and all(f"is the {side} values tried" in line for line in said)


def test_best_says_when_no_test_set_was_looked_at(tmp_path, capsys):
    kept(tmp_path, validation=100)
    text = best(tmp_path, capsys)
    assert "100 training examples held out of each of tasks 0-2: no test set was looked at" in text
    assert "--validation" not in text.splitlines()[-1]


@pytest.mark.parametrize(
    "more, message",
    [
        ({"n_tasks": None, "lr": 0.2}, "none would be left for the table"),
        ({"first_task": 3, "lr": 0.2}, "begins with task 3"),
        ({"n_tasks": 4, "lr": 0.2}, "d.pt: runs with --n_tasks 3 and 4 in one folder"),
        ({"n_tasks": 4, "model": "ewc"}, "d.pt: runs with --n_tasks 3 and 4 in one folder"),
        ({"validation": 9, "model": "ewc"}, "d.pt: runs with --validation 0 and 9 in one folder"),
        ({"threads": 2}, "has the setting and the seed of"),
        ({"seed": 1}, "settings with different seeds (0; 0 1)"),
        ({"status": "diverged", "lr": 0.2, "model": "ewc"}, "every setting diverged"),
    ],
)
def test_best_refuses_what_would_not_be_fair(tmp_path, more, message):
    kept(tmp_path)
    kept(tmp_path, lr=0.3)
    kept(tmp_path, **more)
    with pytest.raises(UsageError) as error:
        selection.main([str(tmp_path)])
    assert message in str(error.value)


def test_best_refuses_all_tasks_written_out(data_file, tmp_path):
    kept(
        tmp_path / "out",
        data_file=data_file.name,
        data_path=str(data_file.parent),
        data_hash=files.load(data_file).hash,
    )
    with pytest.raises(UsageError, match="none would be left for the table"):
        selection.main([str(tmp_path / "out")])


@pytest.mark.parametrize("final", [float("nan"), None])
def test_best_takes_no_score_that_is_not_a_number(tmp_path, capsys, final):
    kept(tmp_path, lr=0.3)
    kept(tmp_path, lr=0.1, final=final)
    assert "#   diverged  --lr 0.1" in best(tmp_path, capsys)


def test_best_does_not_mind_where_scalars_went_and_says_what_failed(tmp_path, capsys):
    for seed in (0, 1):
        kept(tmp_path, seed=seed, tensorboard=f"board{seed}")
        (tmp_path / f"gem-{seed}.failed").touch()
    assert selection.main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "(the only setting)" in out and "tensorboard" not in out
    assert err == f"note: failed jobs in {tmp_path}: 2 (*.failed); the choice is without them\n"


def test_best_names_a_record_that_is_not_whole(tmp_path):
    (tmp_path / "a.json").write_text('{"format": 1, "args": []}')
    with pytest.raises(RecordError, match=r"a\.json: 'args' is \[\], not an object; it is not a whole record"):
        selection.main([str(tmp_path)])
    (tmp_path / "a.json").unlink()
    kept(tmp_path)
    path = next(tmp_path.rglob("a.json"))
    content = json.loads(path.read_text())
    for place in selection.NEEDED:
        part, _, name = place.partition(".")
        inner = {part: {k: v for k, v in content[part].items() if k != name}} if name else {}
        path.write_text(json.dumps({k: v for k, v in content.items() if k != part} | inner))
        with pytest.raises(RecordError, match=f"a.json: has no '{place}'"):
            selection.main([str(tmp_path)])
    path.write_text(json.dumps({**content, "args": {**content["args"], "lr": [0.1]}}))
    with pytest.raises(RecordError, match=r"a\.json: has a list where a flag has one value"):
        selection.main([str(tmp_path)])


def test_without_a_gpu_jobs_run_on_the_cpu(monkeypatch, capsys):
    import torch

    from scripts.sweep import gpus_for

    args = argparse.Namespace(scheduler=None, slurm=None, gpus=None, workers=4)
    job, other = (argparse.Namespace(args={"cuda": cuda}) for cuda in (True, False))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpus_for(args, [other, job]) == 0
    assert capsys.readouterr().err == "note: --cuda yes: torch sees no GPU here, so these jobs run on the CPU\n"
    assert gpus_for(args, [other]) == 0 and capsys.readouterr().err == ""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert gpus_for(args, [job]) == 2 and capsys.readouterr().err == ""
