"""Whatever is done to the parameters between two steps counts as if they were plain: against the autograd engine.

Three models learn the same: `kept` and `plain` with the fast engine's two forms, and `truth` with autograd, whose
parameters are nothing but parameters.
"""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, prune, vector_to_parameters

from model import UsageError, common, engine
from model.engine.fast import FastEngine
from model.numeric.projection import Correction
from tests.conftest import net, parameters, stream

TRAIN, _ = stream(4, 40, dtype=torch.float64)
METHODS = ("gem", *(pytest.param(name, marks=pytest.mark.slow) for name in ("agem_closed", "agem_sampled")))


def make(name, kind, seed=0):
    model = net(name, n_tasks=4, seed=seed, engine="autograd" if kind == "truth" else "fast", lr=0.05, agem_batch=6)
    model.args.seed = 0
    if kind != "truth":
        model.engine.wanted = kind
    return model.double()


def models(name="gem"):
    return [make(name, kind) for kind in ("kept", "plain", "truth")]


def observe(model, t, start, n=6):
    for i in range(start, start + n):
        model.observe(TRAIN[t][1][i : i + 2], t, TRAIN[t][2][i : i + 2])


def learned(name="gem"):
    """The three models within their third task, after steps along the rows."""
    three = models(name)
    for model in three:
        for t in range(3):
            observe(model, t, 0)
        assert model.counts["violations"] > 0
    return three


def logits(model):
    with torch.no_grad():
        return model(TRAIN[0][1], 0).clone()


def close(one, two):
    assert one.shape == two.shape and one.dtype == two.dtype
    assert float((one - two).norm() / two.norm()) < 1e-10


def same(three):
    """Parameters and outputs agree with the last one's."""
    *ours, truth = three
    for model in ours:
        close(logits(model), logits(truth))
        close(parameters(model), parameters(truth))


# -------------------------------------------------------------------- reading


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def vector(tensors):
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).clone()


def inferred(model, _):
    with torch.inference_mode():
        return vector(model.parameters())


def called_elsewhere(model, _):
    """The first layer's outputs for the unit inputs are its weights."""
    eye = torch.eye(12, dtype=torch.float64)
    first = torch.func.functional_call(model.net.net[0], dict(model.net.net[0].named_parameters()), (eye,))
    bias = model.net.net[0].bias
    return vector([(first - bias).t(), bias, *list(model.parameters())[2:]])


READS = {
    "parameters": lambda model, _: vector(model.parameters()),
    "named parameters, last first": lambda model, _: vector(
        [p.detach().clone() for _, p in reversed(list(model.named_parameters()))][::-1]
    ),
    "a list kept from the beginning": lambda _, held: vector(held),
    "data": lambda _, held: vector([p.data for p in held]),
    "views": lambda _, held: vector([p.view(-1) for p in held]),
    "indices": lambda _, held: vector([torch.stack([row + 0 for row in p]) for p in held]),
    "numbers": lambda _, held: vector([torch.tensor(p.tolist(), dtype=torch.float64) for p in held]),
    "numpy": lambda _, held: vector([torch.from_numpy(p.detach().numpy().copy()) for p in held]),
    "a storage": lambda _, held: vector(
        [torch.empty(0).double().set_(p.untyped_storage(), p.storage_offset(), p.size()).clone() for p in held]
    ),
    "into another": lambda _, held: vector([torch.zeros(p.shape).double().copy_(p) for p in held]),
    "parameters_to_vector": lambda model, _: parameters_to_vector(model.parameters()).detach().clone(),
    "state_dict": lambda model, _: vector(model.state_dict().values()),
    "the network's state_dict": lambda model, _: vector(model.net.state_dict().values()),
    "theta": lambda model, _: model.engine.theta.clone(),
    "a copy": lambda model, _: vector(copy.deepcopy(model).parameters()),
    "a copy of the network": lambda model, _: vector(copy.deepcopy(model.net).parameters()),
    "a copy of each": lambda _, held: vector([copy.deepcopy(p) for p in held]),
    "a shallow copy of each": lambda _, held: vector([copy.copy(p) for p in held]),
    "a pickle": lambda model, _: vector(pickled(model).parameters()),
    "torch.save": lambda model, _: vector(saved(model).parameters()),
    "in inference mode": inferred,
    "functional_call": called_elsewhere,
    "a checkpoint": lambda model, _: vector(model.checkpoint()["parameters"].values()),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", READS)
def test_what_is_read_is_complete(name, way):
    three = learned(name)
    held = [list(model.parameters()) for model in three]
    for model in three:
        observe(model, 2, 6, 1)
    for model, mine in zip(three, held, strict=True):
        close(READS[way](model, mine), READS["a list kept from the beginning"](three[2], held[2]))
    same(three)


@pytest.mark.parametrize("way", READS)
@pytest.mark.parametrize("kind", ["kept", "plain"])
def test_reading_changes_no_digit(way, kind):
    left, read = make("gem", kind), make("gem", kind)
    held = list(read.parameters())
    for t in range(3):
        for i in range(8):
            for model in (left, read):
                observe(model, t, i, 1)
            READS[way](read, held)
    assert torch.equal(parameters(left), parameters(read))


@pytest.mark.parametrize("kind", ["kept", "plain"])
def test_threads_of_a_reader_change_no_digit(kind):
    """Complete parameters, which the next task begins with, are the same whoever asked for them, and when."""
    left, read = make("gem", kind), make("gem", kind)
    before = torch.get_num_threads()
    for t in range(3):
        observe(left, t, 0)
        observe(read, t, 0)
        torch.set_num_threads(2)
        read.state_dict()
        torch.set_num_threads(before)
    assert torch.equal(parameters(left), parameters(read))


def test_steps_after_which_nobody_asks_keep_the_parameters_held():
    """The rule costs nothing where nobody looks: what an evaluation or a checkpoint leaves behind refers to nothing."""
    model = make("gem", "kept")
    for t in range(3):
        observe(model, t, 0)
        for look in (
            logits,
            lambda m: m.state_dict(),
            lambda m: m.checkpoint(),
            copy.deepcopy,
            lambda m: m.engine.theta,
        ):
            look(model)
            assert not model.engine.held
            observe(model, t, 6, 1)
            assert model.engine.held == (t > 0)
    model.zero_grad()
    model.train()
    assert next(tuple(p.shape) for p in model.parameters()) == (8, 12) and model.engine.held
    assert next(p.size(dim=1) for p in model.parameters()) == 12 and model.engine.held
    assert sum(p.numel() for p in model.parameters()) == len(model.engine.flat.theta) and model.engine.held
    assert isinstance(next(model.parameters()), nn.Parameter)
    assert "HeldParameter" not in repr(next(model.parameters())) and not model.engine.held
    assert {type(p) for p in model.parameters()} == {nn.Parameter}


def test_what_gets_around_torch_sees_no_numbers():
    """`torch.tensor(p)` takes the memory without asking."""
    model, *_ = learned()
    with pytest.warns(UserWarning, match="copy construct"):
        assert bool(torch.tensor(next(model.parameters())).isnan().all())
    assert model.engine.held
    assert bool(parameters(model).isfinite().all())


# -------------------------------------------------------------------- writing


def scaled_in_place(which):
    def write(model):
        with torch.no_grad():
            which(model).mul_(0.9)

    return write


def scaled_data(which):
    def write(model):
        which(model).data.mul_(0.9)

    return write


def nothing_changed(model):
    with torch.no_grad():
        model.net.net[4].bias.mul_(1.0)


def vector_written(model):
    values = parameters_to_vector(model.parameters()).detach()
    vector_to_parameters(values * 0.9, model.parameters())


def vector_unchanged(model):
    vector_to_parameters(parameters_to_vector(model.parameters()).detach(), model.parameters())


def data_replaced(model):
    for p in model.parameters():
        p.data = p.data * 0.9


def data_transposed(model):
    """The same memory, read across."""
    model.net.net[2].weight.data = model.net.net[2].weight.data.t()


def data_swapped(model):
    a, b = model.net.net[0].bias, model.net.net[2].bias
    a.data, b.data = b.data, a.data


def swapped_for_a_look(model):
    first = model.net.net[0].weight
    mine = first.data
    first.data = torch.zeros_like(mine)
    logits(model)
    first.data = mine


def parameter_replaced(model):
    model.net.net[0].weight = nn.Parameter(model.net.net[0].weight * 0.9)


def module_replaced(model):
    other = nn.Linear(8, 4).double()
    other.weight.data, other.bias.data = torch.ones(4, 8).double() / 9, torch.zeros(4).double()
    model.net.net[4] = other


def pruned(model):
    prune.l1_unstructured(model.net.net[0], "weight", amount=0.3)
    prune.remove(model.net.net[0], "weight")


def optimizer(model):
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    sgd.zero_grad()
    F.cross_entropy(model(TRAIN[3][1][:5], 3), TRAIN[3][2][:5]).backward()
    sgd.step()


def moving_average(model):
    with torch.no_grad():
        for p, q in zip(model.parameters(), make("gem", "truth", seed=7).parameters(), strict=True):
            p.lerp_(q, 0.1)


def foreach(model):
    with torch.no_grad():
        torch._foreach_mul_(list(model.parameters()), 0.9)


def through_numpy(model):
    model.net.net[0].weight.detach().numpy()[:] *= 0.9


def loaded(**given):
    return lambda model: model.load_state_dict(make("gem", "truth", seed=7).state_dict(), **given)


WRITES = {
    "nothing, in an upper bias": nothing_changed,
    "an upper bias": scaled_in_place(lambda model: model.net.net[4].bias),
    "an upper bias's data": scaled_data(lambda model: model.net.net[4].bias),
    "the first weights": scaled_in_place(lambda model: model.net.net[0].weight),
    "the first weights' data": scaled_data(lambda model: model.net.net[0].weight),
    "the first bias": scaled_in_place(lambda model: model.net.net[0].bias),
    "the first bias's data": scaled_data(lambda model: model.net.net[0].bias),
    "one number": scaled_data(lambda model: model.net.net[0].weight.data[3, 4]),
    "theta": lambda model: model.engine.theta.mul_(0.9),
    "a part of theta": lambda model: model.engine.theta[:7].zero_(),
    "vector_to_parameters": vector_written,
    "vector_to_parameters, nothing changed": vector_unchanged,
    "data replaced": data_replaced,
    "data transposed": data_transposed,
    "data swapped": data_swapped,
    "data swapped for a look": swapped_for_a_look,
    "a new parameter": parameter_replaced,
    "a new module": module_replaced,
    "pruned": pruned,
    "an optimizer": optimizer,
    "a moving average": moving_average,
    "_foreach": foreach,
    "numpy": through_numpy,
    "loaded": loaded(),
    "loaded by assignment": loaded(assign=True),
    "loaded into the network": lambda model: model.net.load_state_dict(make("gem", "truth", seed=7).net.state_dict()),
    "double": lambda model: model.double(),
    "shared memory": lambda model: model.share_memory(),
    "zero_grad": lambda model: model.zero_grad(),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", WRITES)
def test_what_is_written_counts(name, way):
    three = learned(name)
    for model in three:
        WRITES[way](model)
    same(three)
    for model in three:
        observe(model, 2, 6)
        WRITES[way](model)  # and nobody looks
        observe(model, 2, 12)
    same(three)
    assert three[0].counts == three[1].counts == three[2].counts


@pytest.mark.parametrize("way", WRITES)
def test_what_is_written_counts_where_a_task_begins(way):
    three = learned()
    for model in three:
        WRITES[way](model)
        observe(model, 3, 0)
    same(three)


def test_a_list_kept_from_the_beginning_can_be_written_to():
    """As an optimizer keeps it."""
    three = models()
    held = [list(model.parameters()) for model in three]
    for t in range(3):
        for model, mine in zip(three, held, strict=True):
            observe(model, t, 0)
            with torch.no_grad():
                for p in mine:
                    p.mul_(0.95)
            observe(model, t, 6)
        same(three)


def test_numbers_written_without_parameters():
    """Upper layers may be changed without the first layer's losing what it has, to the digit."""
    left, written = make("gem", "kept"), make("gem", "kept")
    for t in range(3):
        for model in (left, written):
            observe(model, t, 0)
        nothing_changed(written)
    assert torch.equal(parameters(left), parameters(written))


# -------------------------------------------------------------------- memory that somebody still refers to

ALIASES = {
    "data": lambda model: [p.data for p in model.parameters()],
    "detached": lambda model: [p.detach() for p in model.parameters()],
    "state_dict": lambda model: list(model.state_dict().values()),
    "numpy": lambda model: [torch.from_numpy(p.detach().numpy()) for p in model.parameters()],
    "storage": lambda model: [
        (lambda s, p=p: torch.empty(0).double().set_(s, p.storage_offset(), p.shape))(p.untyped_storage())
        for p in map(torch.Tensor.detach, model.parameters())
    ],
    "theta": lambda model: model.engine.flat.split(model.engine.theta),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", ALIASES)
def test_memory_that_is_referred_to_stays_complete(name, way):
    three = learned(name)
    aliases = [ALIASES[way](model) for model in three]
    for i in range(6, 12):
        for model, alias in zip(three, aliases, strict=True):
            observe(model, 2, i, 1)
            assert torch.equal(vector(alias), parameters(model))
        same(three)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", ALIASES)
def test_what_is_written_to_such_memory_counts(name, way):
    three = learned(name)
    for model in three:
        alias = ALIASES[way](model)
        observe(model, 2, 6)
        for tensor in alias:
            tensor.mul_(0.9)
        observe(model, 2, 12)
        alias[0].mul_(0.9)
        assert torch.equal(alias[0], model.net.net[0].weight.detach())
        del tensor, alias
        observe(model, 2, 18)
    assert three[0].engine.held and three[1].engine.held
    same(three)


@pytest.mark.parametrize("way", ALIASES)
def test_such_a_reference_changes_no_digit(way):
    left, read = make("gem", "kept"), make("gem", "kept")
    for t in range(3):
        for i in range(8):
            for model in (left, read):
                observe(model, t, i, 1)
            alias = ALIASES[way](read)
    assert torch.equal(parameters(left), parameters(read)) and torch.equal(vector(alias), parameters(read))


def test_a_storage_itself_is_a_reference():
    model, *_ = learned()
    storage = next(model.parameters()).untyped_storage()
    observe(model, 2, 6)
    assert not model.engine.held
    view = torch.empty(0).double().set_(storage, 0, (8, 12))
    assert torch.equal(view, model.net.net[0].weight.detach())


def test_a_graph_made_before_a_step():
    """Autograd refuses it, or finds what it finds with plain parameters that have moved."""
    model, _, truth = learned()
    graph = model.net.net[0].weight.square().sum()
    observe(model, 2, 6, 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        graph.backward()
    observe(truth, 2, 6, 1)
    for between in (0, 2):
        for each in (model, truth):
            loss = each(TRAIN[0][1], 0).square().sum()
            observe(each, 2, 7, between)
            each.zero_grad()
            loss.backward()
        for p, q in zip(model.parameters(), truth.parameters(), strict=True):
            close(p.grad, q.grad)


# -------------------------------------------------------------------- copies

COPIES = {"deepcopy": copy.deepcopy, "pickle": pickled, "torch.save": saved}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", METHODS)
def test_a_copy_goes_on_as_the_original_would(way, name):
    for model in learned(name):
        twin = COPIES[way](model)
        assert torch.equal(logits(twin), logits(model)) and torch.equal(parameters(twin), parameters(model))
        memory = {p.untyped_storage().data_ptr() for p in model.parameters()}
        assert memory.isdisjoint(p.untyped_storage().data_ptr() for p in twin.parameters())
        before = parameters(model).clone()
        observe(twin, 2, 6)
        observe(twin, 3, 0)
        assert torch.equal(parameters(model), before)
        observe(model, 2, 6)
        observe(model, 3, 0)
        assert torch.equal(parameters(twin), parameters(model)) and twin.counts == model.counts


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_complete_in_another_type(way):
    for model in learned()[:2]:
        twin = COPIES[way](model).to(torch.float32)
        assert torch.equal(parameters(twin), parameters(model).float())
        twin.observe(TRAIN[2][1][:2].float(), 2, TRAIN[2][2][:2])
        assert parameters(twin).dtype == torch.float32 and bool(parameters(twin).isfinite().all())


def test_copies_of_parts_are_complete():
    model, *_ = learned()
    observe(model, 2, 6)
    for way in COPIES.values():
        observe(model, 2, 6, 1)
        twin = way(model.engine)
        assert torch.equal(twin.theta, parameters(model))
        assert torch.equal(vector(twin.net.parameters()), twin.theta)


def test_what_is_written_to_a_copy_counts():
    three = learned()
    twins = [copy.deepcopy(model) for model in three]
    for twin in twins:
        twin.net.net[0].weight.data.mul_(0.9)
        observe(twin, 2, 6)
    same(twins)


# -------------------------------------------------------------------- between gradients() and descend()

CHANGES = {name: WRITES[name] for name in WRITES if not name.startswith("loaded")}
CHANGES |= {
    "read": parameters,
    "output": logits,
    "checkpoint": lambda model: model.checkpoint(),
    "copied": copy.deepcopy,
}


@pytest.mark.parametrize("way", CHANGES)
@pytest.mark.parametrize("name", METHODS)
def test_between_gradients_and_descend(way, name):
    three = learned(name)
    for model in three:
        _, x, y = TRAIN[2]
        for i in range(3):
            if name == "agem_sampled":
                model.engine.set_rows(*model.draw(), once=True)
            g = model.engine.gradients(x[i : i + 2], y[i : i + 2], 2)
            g.dots()
            R = len(g.gram())
            CHANGES[way](model)
            g.descend(0.05, Correction(np.linspace(0.5, 1, R)))
        observe(model, 2, 6)
    same(three)


@pytest.mark.parametrize("kind", ["kept", "plain"])
def test_a_step_along_gradients_of_other_layers_is_refused(kind):
    model, (_, x, y) = make("gem", kind), TRAIN[2]
    for t in range(3):
        observe(model, t, 0)
    for change in (lambda: model.float(), lambda: model.engine.clear_rows()):
        g = model.engine.gradients(x[:2].to(model.engine.theta), y[:2], 2)
        change()
        with pytest.raises(RuntimeError, match="call gradients\\(\\) again"):
            g.descend(0.1)


@pytest.mark.parametrize("R", [1, 3])
@pytest.mark.parametrize("kind", ["kept", "plain"])
def test_products_belong_to_their_pass(kind, R):
    """Products that were asked for and not used do not get into a later step."""
    torch.manual_seed(0)
    mlp = common.MLP([12, 8, 8, 4]).double()
    _, x, y = TRAIN[0]
    tasks, weights = torch.zeros(9, dtype=torch.long), torch.rand(R, 9).double()
    moved = []
    for make_engine in (lambda net: FastEngine(net, common.TaskOutputs(4), form=kind), truth_engine):
        ours = make_engine(copy.deepcopy(mlp))
        ours.set_rows(x[:9], y[:9], tasks, weights)
        for i in range(10, 13):
            ours.gradients(x[i : i + 1], y[i : i + 1], 0).gram()
            ours.gradients(x[i : i + 1], y[i : i + 1], 0).descend(0.1)
            ours.gradients(x[i + 5 : i + 6], y[i + 5 : i + 6], 0).descend(0.1, Correction(np.ones(R)))
        moved.append(ours.theta.clone())
    close(*moved)


def truth_engine(network):
    return engine.AutogradEngine(network, common.TaskOutputs(4))


# -------------------------------------------------------------------- rows that serve once; networks that change


@pytest.mark.parametrize("kind", ["kept", "plain"])
@pytest.mark.parametrize("shapes", [[(2, 3), (2, 3), (2, 3)], [(2, 3), (3, 2), (1, 6)], [(1, 4), (1, 4), (2, 2)]])
def test_rows_that_serve_once(kind, shapes):
    """Also where the same number of examples makes up other rows."""
    torch.manual_seed(0)
    mlp = common.MLP([12, 8, 8, 4]).double()
    _, x, y = TRAIN[0]
    results = []
    for make_engine in (lambda net: FastEngine(net, common.TaskOutputs(4), form=kind), truth_engine):
        ours = make_engine(copy.deepcopy(mlp))
        for i in range(9):
            R, m = shapes[i % len(shapes)]
            rows = slice(i, i + R * m)
            weights = torch.eye(R).repeat_interleave(m, 1).double()
            ours.set_rows(x[rows], y[rows], torch.zeros(R * m, dtype=torch.long), weights, once=True)
            for j in (20, 25):
                g = ours.gradients(x[i + j : i + j + 1], y[i + j : i + j + 1], 0)
                results.append((g.dots().sum(), g.gram().sum()))
                g.descend(0.1, Correction(np.ones(R)))
        results.append(ours.theta.clone())
    half = len(results) // 2
    assert np.array(results[: half - 1]) == pytest.approx(np.array(results[half:-1]), rel=1e-9)
    close(results[half - 1], results[-1])


def test_a_network_that_is_another_by_now():
    model, *_ = learned()
    prune.l1_unstructured(model.net.net[0], "weight", amount=0.3)
    with pytest.raises(UsageError, match="no longer a stack of linear layers with ReLU; give --engine autograd"):
        observe(model, 2, 6, 1)
    prune.remove(model.net.net[0], "weight")
    observe(model, 2, 6, 1)
    model.net.net[4] = nn.Linear(8, 5).double()
    with pytest.raises(UsageError, match=r"has lost its parameter net.4.weight \(4, 8\)"):
        observe(model, 2, 6, 1)


def test_masks_are_followed_by_autograd():
    """A pruned network, mask and all, keeps its parameters: they are the same objects under another name."""
    model = make("gem", "truth")
    observe(model, 0, 0)
    prune.l1_unstructured(model.net.net[0], "weight", amount=0.3)
    before = model.net.net[0].weight_orig.detach().clone()
    observe(model, 0, 6)
    assert not torch.equal(model.net.net[0].weight_orig.detach(), before)


# -------------------------------------------------------------------- anything, in any order


def restored(model, name, kind):
    fresh = make(name, kind, seed=9)
    file = io.BytesIO()
    torch.save(model.checkpoint(), file)
    file.seek(0)
    fresh.restore(torch.load(file, weights_only=True))
    return fresh


# pruning leaves the bias before the weights, and torch's parameters_to_vector does not take what is transposed
QUIET = [name for name in WRITES if name not in ("pruned", "data transposed", "shared memory")]
ACTS = ("steps", "steps", "read", "write", "evaluate", "restore", "copy", "next task", "refer", "let go", "write there")


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 10**6)), min_size=3, max_size=14))
def test_anything_in_any_order(name, acts):
    kinds = ("kept", "plain", "truth")
    three, t = [make(name, kind) for kind in kinds], 0
    held, aliases = [list(model.parameters()) for model in three], [None] * 3
    acts = [("steps", 0), ("next task", 0), ("steps", 1), *acts, ("steps", 2)]
    for act, n in acts:
        t = (t + 1) % 4 if act == "next task" else t
        for k, (model, kind) in enumerate(zip(three, kinds, strict=True)):
            if act in ("steps", "next task"):
                observe(model, t, n % 30, 1 + n % 4)
            elif act == "read":
                READS[list(READS)[n % len(READS)]](model, held[k])
            elif act == "write":
                WRITES[QUIET[n % len(QUIET)]](model)
            elif act == "evaluate":
                logits(model)
            elif act == "restore":
                three[k], aliases[k] = restored(model, name, kind), None
            elif act == "copy":
                three[k], aliases[k] = COPIES[list(COPIES)[n % len(COPIES)]](model), None
            elif act == "refer":
                _ = model.engine.theta  # the memory that engines make for parameters; another is copied, not used
                aliases[k] = ALIASES[list(ALIASES)[n % len(ALIASES)]](model)
            elif act == "let go":
                aliases[k] = None
            elif aliases[k] is not None and n % 2:
                aliases[k][n % len(aliases[k])].mul_(0.95)
            held[k] = held[k] if n % 3 and act not in ("restore", "copy", "write") else list(three[k].parameters())
        if n % 2:
            same(three)
    same(three)
    for model, mine in zip(three, held, strict=True):
        close(vector(mine), parameters(model))
