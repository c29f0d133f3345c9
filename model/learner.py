"""What every method owns: network, engine, rate, counts, and its exact state."""

import sys

import torch
from torch import nn

from model import METHODS, UsageError, arguments, common, engine, networks, optimizer, own_flags, state
from model.dropout import dropouts
from model.engine.fast import linear_layers

MADE = ("args", "outputs", "engine")  # made by the constructor; the engine's state comes last, and apart


class Stateful(nn.Module):
    """Arguments, outputs, rate, counts and the exact state of a method, whatever its networks are.

    A checkpoint holds all attributes (``model.state``) but those that ``CACHES`` names, which the method makes anew.
    """

    CACHES: tuple[str, ...] = ()
    # Why the first task is not learned exactly as `single` learns it; None where it is.
    first_task_differs: str | None = None
    # Why its steps take no other optimizer than plain SGD, and what its guarantee loses with one; None where neither holds.
    steps_itself: str | None = None
    loses: str | None = None

    def __init__(self, n_inputs: int, n_outputs: int, n_tasks: int, args):
        super().__init__()
        self.args = arguments.of(args, own_flags.of(sys.modules.get(type(self).__module__)))
        self.outputs = common.task_outputs(n_outputs, n_tasks, self.args)
        self.lr = self.args.lr  # of the task being learned
        self.later_lr = self.args.lr * self.args.later_lr_factor  # of every task but the first
        if self.steps_itself:
            optimizer.refuse(self.args, self.name, self.steps_itself)
        if self.loses:
            optimizer.warn(self.args, self.name, self.loses)
        self.optimizer = optimizer.make(self.args)  # None: plain SGD
        self.task: int | None = None  # the task being learned
        self.seen: list[int] = []  # all tasks begun, in order
        self.counts = {"violations": 0, "qp_solves": 0, "qp_rescues": 0}

    @property
    def name(self) -> str:
        """The method's name after ``--model``."""
        return type(self).__module__.rpartition(".")[2]

    def begin(self, t: int) -> None:
        """Note that task t begins: its rate, an optimizer without memory unless it is kept, draws of dropout of its own."""
        if t == self.task:
            return
        self.task = t
        if t not in self.seen:
            self.seen.append(t)
        if t != self.seen[0] and self.args.later_lr_factor != 1:
            self.lr = self.later_lr
        if self.optimizer is not None and self.args.optimizer_state == "clear":
            self.optimizer.clear()
        for dropout in dropouts(self):
            dropout.begin(len(self.seen))

    def drop(self, tasks) -> None:
        """Count the unlearned ``tasks`` as never begun. The next batch begins a task, whatever its task is."""
        self.seen = [t for t in self.seen if t not in tasks]
        self.task = None

    def checkpoint(self) -> dict:
        """The exact state as tensors and builtins. Training that goes on from it gives the same bytes."""
        saved = {"parameters": state.parameters(self), "attributes": state.attributes(self, but=MADE)}
        return saved if self.name in METHODS else {**saved, "copies": state.copies(self)}

    def restore(self, saved: dict) -> None:
        """The counterpart of ``checkpoint``, into a fresh object of the same arguments; takes on the state's dtype.

        The fresh object may be for more tasks. Without the ``engine``'s state the next batch must begin a task.
        """
        state.make_copies(self, saved.get("copies", {}))
        self.to(next(value.dtype for value in saved["parameters"].values() if value.is_floating_point()))
        self.load_state_dict(
            {**self.state_dict(), **saved["parameters"]}
        )  # later tasks may add parameters of their own
        state.set_attributes(self, saved["attributes"])


class Learner(Stateful):
    """A method with one network, and services for its ``Net``; it calls nothing that a method would have to override."""

    in_blocks = False  # whether a step's correction has weights of its own in blocks of coordinates

    def __init__(self, n_inputs: int, n_outputs: int, n_tasks: int, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        self.net = networks.network(n_inputs, n_outputs, self.args)
        self.engine = engine.make(self.net, self.outputs, self.args, self.optimizer, self.in_blocks)

    def forward(self, x: torch.Tensor, t: int) -> torch.Tensor:
        """Logits (B, n_outputs) for x (B, n_inputs) of task t; outputs of other tasks never win an argmax."""
        return self.engine.predict(x, t)

    def masked_and_unmasked(self, x: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The labels (B,) predicted for x (B, n_inputs) among the outputs of task t, and those among all outputs.

        Both come from one forward pass. None if all tasks share one head, or if the method has a ``forward`` of its own.
        """
        if self.outputs.foreign is None or type(self).forward is not Learner.forward:
            return None
        logits = self.net(x)
        unmasked = logits.argmax(1)
        return self.outputs.mask_(logits, t).argmax(1), unmasked

    def complete_layers(self) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
        """W (o, i) and b (o,) of each layer of an MLP in float32 on the CPU, complete; None of any other, and in parity."""
        if linear_layers(self.net) is None or self.args.parity or type(self).forward is not Learner.forward:
            return None
        complete = self.state_dict()
        tensors = [complete[f"net.{name}"] for name, _ in self.net.named_parameters()]
        if any(tensor.dtype != torch.float32 or tensor.is_cuda for tensor in tensors):
            return None
        return list(zip(tensors[::2], tensors[1::2], strict=True))

    def count(self, correction) -> None:
        """Keep count of a projection's outcome (``projection.Correction`` or None)."""
        if correction is not None:
            self.counts["violations"] += 1
            self.counts["qp_solves"] += correction.solved
            self.counts["qp_rescues"] += correction.rescued

    def checkpoint(self) -> dict:
        return {**super().checkpoint(), "engine": self.engine.checkpoint()}

    def restore(self, saved: dict) -> None:
        super().restore(saved)
        if "engine" in saved:
            self.engine.restore(saved["engine"])


class PerTask(Stateful):
    """A method whose tasks have networks of their own, or in part their own: ``network(t)`` is that of task t.

    The engine is that of the task being learned. It is made anew where another task begins, and keeps nothing.
    """

    engine = None

    def __init__(self, n_inputs: int, n_outputs: int, n_tasks: int, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        if self.args.optimizer_state == "keep":
            raise UsageError(
                f"--optimizer_state keep: in {self.name} tasks have parameters of their own, and so their memory; leave it out"
            )

    def engine_of(self, t: int):
        """The engine of the network of task t."""
        if self.engine is None or t != self.task:
            self.begin(t)
            self.engine = self.make_engine(t)
        return self.engine

    def make_engine(self, t: int):
        """An engine for the network of task t, whose outputs are ``outputs_of(t)``."""
        return engine.make(self.network(t), self.outputs_of(t), self.args, self.optimizer)

    def restore(self, saved: dict) -> None:
        super().restore(saved)
        self.engine = None if self.task is None else self.make_engine(self.task)
