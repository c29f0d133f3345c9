"""What probes see of a run: its held-out examples, its place in the stream, and a copy of its network."""

import copy

import torch
from torch import nn

from data import pixels
from experiment.evaluation import eval_tasks, finite
from model import UsageError, networks
from model.engine.flat import threads

CHUNK = 2_500  # examples in one forward pass
REMEDY = "give a method with one, such as single, or leave the probe out"


class View:
    """A run as probes see it. ``method`` is what learns, ``model`` what is evaluated (it may number the tasks otherwise)."""

    def __init__(self, args, method, model, data, continuum):
        self.args, self.method, self.model, self.data, self.continuum = args, method, model, data, continuum
        net = getattr(method, "net", None)
        self._network = copy.deepcopy(net) if isinstance(net, nn.Module) else None  # before any engine holds it
        self._fresh = False

    @property
    def name(self) -> str:
        """The method's name, for messages."""
        return self.args.model

    # ---------------------------------------------------------------- the place in the stream

    @property
    def step(self) -> int:
        """The number of batches that the stream has given, the present one included."""
        return self.continuum.position

    @property
    def at_evaluation(self) -> bool:
        """Whether the run was evaluated just before the present batch; asked before its step."""
        return (self.step - 1) % self.args.log_every == 0

    def seen(self, task: int) -> list[int]:
        """The tasks of the stream up to ``task``, in the order of learning; all of them where they are learned together."""
        order = self.continuum.order
        return list(order) if self.continuum.together else order[: order.index(task) + 1]

    def own(self, task: int) -> int:
        """The number that the method gives to a task of the stream; it may have learned others before."""
        return task + getattr(self.model, "first", 0)

    # ---------------------------------------------------------------- the network

    def require_network(self, probe: str) -> nn.Module:
        """The copy of the method's one network; ``UsageError`` if the method has none, or more than one."""
        if self._network is None:
            raise UsageError(f"--probe {probe}: {self.name} has no one network for all tasks; {REMEDY}")
        return self._network

    def network(self) -> nn.Module:
        """The copy with the parameters and statistics of this moment, in evaluation mode. A probe may do with it as it likes."""
        if not self._fresh:
            state = self.method.state_dict()
            self._network.load_state_dict({key: state[f"net.{key}"] for key in self._network.state_dict()})
            self._fresh = True
        return self._network.eval()

    def moved(self) -> None:
        """The parameters are no longer those of the copy."""
        self._fresh = False

    # ---------------------------------------------------------------- held-out examples

    def held_out(self, task: int):
        """The held-out examples of a task: x (N, n_inputs) in the dtype of the network, y (N,), in pieces."""
        _, x, y = self.data.test[task]
        for xs, ys in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
            yield self.inputs(xs), ys

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Stored inputs as the network takes them: floats in its dtype, on its device."""
        like = next(self.method.parameters())
        return pixels.floats(x).to(device=like.device, dtype=like.dtype)

    def sizes(self, tasks) -> list[int]:
        """The numbers of held-out examples of the tasks."""
        return [len(self.data.test[task][2]) for task in tasks]

    def accuracies(self, tasks: list[int]) -> list[float] | None:
        """The accuracy on the held-out examples of each of the tasks; None if a parameter is not finite."""
        if not finite(self.model):
            return None
        with threads(self.args.threads):
            return eval_tasks(self.model, self.data.test, self.args, tasks)

    @torch.no_grad()
    def logits(self, task: int):
        """Logits (N, n_outputs) of the held-out examples of a task in float64, as the run is evaluated, and y (N,).

        Other tasks' outputs are as ``forward`` gives them, far below all others.
        """
        self.model.eval()
        pieces = [(self.model(x, task).double().cpu(), y.cpu()) for x, y in self.held_out(task)]
        self.model.train()
        return torch.cat([z for z, _ in pieces]), torch.cat([y for _, y in pieces])


def hidden_layers(view: View, probe: str) -> int:
    """The number of hidden layers of the method's network; ``UsageError`` if it has none that can be looked at."""
    net = view.require_network(probe)
    count = 0
    if networks.serves_activations(net):
        count = sum(isinstance(module, nn.ReLU) for module in net.net)
    if not count:
        kind = type(net).__name__
        raise UsageError(
            f"--probe {probe}: this {kind} has no hidden layer of units; give --net mlp, or leave the probe out"
        )
    return count


@torch.no_grad()
def hidden(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The activations (N, units) of the hidden layers for x (N, n_inputs), first to last."""
    return networks.activations(net, x)[0]
