"""The state that a finished run leaves beside its record, and a run that goes on from it with other data."""

import os
from contextlib import contextmanager
from pathlib import Path

import model as methods
from data import DataError
from experiment import store
from experiment.checkpoints import FORMAT, digest, settings
from experiment.stream import Datasets
from model import UsageError, arguments, common, state
from model.flags import Role
from results import RecordError, record

STATE = ".state"  # the ending of its name


def save(base: str, args, model, data: Datasets, task_sizes: list[int], before: list[str]) -> None:
    """Leave ``<base>.state``: all of the method, and what a run that goes on from it must know. ``RecordError`` if it fails.

    ``task_sizes``: the examples of each task so far. ``before``: what the runs before this one learned, and how.
    """
    learned = [*before, f"{data.hash}:{_protocol(args, data, task_sizes)}"]
    sizes = {name: getattr(data, name) for name in ("n_inputs", "n_outputs", "n_tasks", "outputs")}
    sizes["task_sizes"] = task_sizes
    header = {"format": FORMAT, "settings": _deciding(args), "sizes": sizes, "learned": learned}
    file = Path(base + STATE)
    try:
        store.write(file, header, state.checkpoint(model))
    except OSError as error:
        raise RecordError(f"--save_state yes: {file} cannot be written ({error.strerror or error})") from None


def _deciding(args) -> dict:
    """The flags that shape a method's state, which a run that goes on cannot change."""
    free = arguments.of_role(Role.PROTOCOL, Role.RUN, Role.MACHINE, Role.PLACE)
    kept = ("model", "n_memories", "engine", "cuda", "parity")
    found = {name: getattr(args, name) for name in kept if arguments.uses(args.model, name)}
    return found | {name: value for name, value in settings(args).items() if name not in (*free, *methods.UNLEARNING)}


def _protocol(args, data: Datasets, task_sizes: list[int]) -> str:
    """The hash of how a run learned its data: its settings and its protocol, as they turned out to be.

    A seed, the name of a file and the place of a record are no part of it.
    """
    head = "shared" if data.outputs is None else "split"
    no_part = dict.fromkeys(("seed", "data_file", "start_from"))
    return digest(args, **no_part, n_tasks=data.n_tasks, samples_per_task=task_sizes, head=head)


def _complete(header: dict) -> bool:
    """Whether a header says all that ``save`` writes, each of its kind."""

    def numbers(values, low: int = 0) -> bool:
        return isinstance(values, list) and all(type(value) is int and low <= value < 2**63 for value in values)

    sizes, learned = header.get("sizes"), header.get("learned")
    if not all(isinstance(part, dict) for part in (header.get("settings"), sizes)) or not isinstance(learned, list):
        return False
    if not numbers([sizes.get(name) for name in ("n_inputs", "n_outputs", "n_tasks")], 1):
        return False
    outputs = [] if sizes.get("outputs", 0) is None else sizes.get("outputs")
    if not isinstance(outputs, list) or not all(numbers(own) for own in outputs):
        return False
    within = all(output < sizes["n_outputs"] for own in outputs for output in own)
    whole = not outputs or len(outputs) == sizes["n_tasks"]
    return within and whole and numbers(sizes.get("task_sizes")) and all(isinstance(hash, str) for hash in learned)


class Earlier:
    """A finished run from whose state another one goes on. ``UsageError`` if there is none, or if the flags do not fit it."""

    def __init__(self, args):
        name = os.fspath(args.start_from)
        base = name.removesuffix(STATE)
        for suffix in record.SUFFIXES:
            base = base.removesuffix(suffix)
        self.file, self.flag = Path(base + STATE), f"--start_from {name}"
        if not self.file.is_file():
            raise UsageError(f"{self.flag}: there is no {self.file}; make that run again with --save_state yes")
        try:
            header, self.method = store.read(self.file)
        except store.Damaged as error:
            raise UsageError(f"{self.flag}: {self.file} cannot be read ({error}); give another record") from None
        if header.get("format") != FORMAT:
            raise UsageError(
                f"{self.flag}: {self.file} has the format {header.get('format')}, not {FORMAT}; give another record"
            )
        if not _complete(header):
            raise UsageError(f"{self.flag}: {self.file} says of its run what no run leaves; give another record")
        if args.forgetting_mode:
            raise UsageError(
                f"{self.flag} --forgetting_mode True: only tasks of one run can be unlearned; give one of them"
            )
        here = _deciding(args)
        for flag, value in header["settings"].items():
            if here.get(flag) != value:
                raise UsageError(
                    f"{self.flag}: that run had --{flag} {value}, this one has {here.get(flag)}; give the same"
                )
        self.learned = header["learned"]
        sizes = header["sizes"]
        self.n_inputs, self.n_outputs, self.n_tasks = (sizes[name] for name in ("n_inputs", "n_outputs", "n_tasks"))
        self.outputs, self.task_sizes = sizes["outputs"], sizes["task_sizes"]

    @property
    def text(self) -> str:
        """What was learned before, and how, for the record's protocol: of each run the hashes of data and protocol.

        States that were left before there was the second have the first alone.
        """
        return " ".join(":".join(hash[:12] for hash in run.split(":")) for run in self.learned)

    def followed_by(self, data: Datasets) -> Datasets:
        """``data`` with the sizes of the network and of all tasks, the earlier ones first. ``UsageError`` if they do not fit."""
        if data.n_inputs != self.n_inputs:
            raise UsageError(
                f"{self.flag}: its data have {self.n_inputs} inputs, these have {data.n_inputs}; give other data"
            )
        if data.n_outputs > self.n_outputs:
            raise UsageError(
                f"{self.flag}: its network has {self.n_outputs} outputs, and the labels of these data go to "
                f"{data.n_outputs - 1}; give data with labels from 0 to {self.n_outputs - 1}"
            )
        if (data.outputs is None) != (self.outputs is None):
            heads = ["shared" if outputs is None else "split" for outputs in (self.outputs, data.outputs)]
            raise UsageError(
                f"{self.flag}: its tasks have a {heads[0]} head, these a {heads[1]} one; give --head {heads[0]}"
            )
        outputs = None if data.outputs is None else [*self.outputs, *data.outputs]
        return data._replace(n_outputs=self.n_outputs, n_tasks=self.n_tasks + data.n_tasks, outputs=outputs)

    @contextmanager
    def blamed(self):
        """Inside, whatever a method stumbles over becomes a ``UsageError``: states come from strangers too."""
        try:
            yield
        except (UsageError, DataError, RecordError, OSError, MemoryError):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UsageError(
                f"{self.flag}: {self.file} holds what no run leaves ({reason}); give another record, or see the traceback "
                "with CL_TRACEBACK=1"
            ) from error

    def teach(self, model) -> "Continued":
        """Give a fresh method the state of the earlier one; the tasks of a stream are numbered from its last one on."""
        if not hasattr(model, "restore"):
            raise UsageError(
                f"{self.flag}: the module of this method has no checkpoint() and restore(); give another --model"
            )
        if reason := getattr(model, "cannot_continue", None):
            raise UsageError(f"{self.flag}: {model.name} cannot go on with more tasks: {reason}; give another --model")
        counts = dict(getattr(model, "counts", {}))
        with self.blamed():
            state.restore(model, {name: value for name, value in self.method.items() if name != "engine"})
        if counts:
            model.counts = counts  # of this run alone
        return Continued(model, self.n_tasks)


class Continued:
    """A method that has learned ``first`` tasks before: task t of its stream is its task ``first + t``."""

    def __init__(self, model, first: int):
        self.model, self.first = model, first

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, x, t):
        return self.model(x, self.first + t)

    def masked_and_unmasked(self, x, t):
        own = getattr(self.model, "masked_and_unmasked", None)
        return own and own(x, self.first + t)

    def observe(self, x, t, y) -> None:
        self.model.observe(x, self.first + t, y)

    @property
    def outputs(self) -> common.TaskOutputs:
        """Those of the tasks of the stream."""
        whole = self.model.outputs
        result = common.TaskOutputs(whole.n_outputs)
        result.foreign = None if whole.foreign is None else whole.foreign[self.first :]
        return result
