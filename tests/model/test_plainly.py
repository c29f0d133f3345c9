"""Every method, with either engine, against its plain form (``tests/model/plain.py``) in float64."""

import itertools
import os

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import model as methods
from tests.conftest import net, parameters
from tests.model import plain

NAMES = methods.learning("images")  # das: against its formulas in test_das.py
BOUND = 1e-9
SLOW_CASES = int(os.environ.get("PLAIN_CASES", 500))

REPLAY = {
    "memories": [1, 5, 17],
    "replay_batch_size": [1, 3],
    "batches_per_example": [1, 2],
    "beta": [0.3, 1.0],
    "gamma": [0.6, 1.0],
    "s": [1.0, 4.0],
}
GROUPS = {
    "num_groups": [1, 2],
    "create_random_groups": [True, False],
    "create_group_per_unit": [False, False, True],
    "divergence": ["von_Neumann", "LogDet"],
    "if_output_cov": [True, False],
    "cov_recompute_every": [1, 3],
    "cov_first_task_buffer": [4, 100],
    "gem_ignore_relatedness": [False, False, True],
    "gem_reverse": [False, True],
}
OPTIONS = {
    "independent": {"finetune": [False, True]},
    "ewc": {"ewc_fisher": ["batch", "empirical", "sampled"]},
    "agem_closed": {"agem_trigger": ["mean", "any"]},
    "agem_meanqp": {"agem_trigger": ["mean", "any"]},
    "agem_sampled": {"agem_batch": [1, 3, 6, 256]},
    "eralg4": REPLAY,
    "eralg5": REPLAY,
    "meralg1": REPLAY,
    "meralg6": REPLAY,
    "meralg7": REPLAY,
    "ogd": {
        "ogd_mode": ["loss_mean", "gtl", "ave", "all"],
        "ogd_per_task": [1, 3],
        "task_sample": [3, 10],
        "ogd_max_basis": [None, 4],
    },
    "spg": {"spg_chi": [True, False], "task_sample": [1, 8]},
    "ncl": {
        "ncl_data_size": [None, 30],
        "ncl_momentum": [0.0, 0.8],
        "ncl_lambda": [0.0, 1.0],
        "ncl_alpha": [0.0, 1e-6, 1e-2],
        "ncl_sum": ["kl", "additive", "frobenius"],
        "ncl_fisher": ["sample", "all", "empirical"],
        "ncl_radius": [None, 0.05],
        "ncl_diag": [False, False, True],
        "task_sample": [4, 20],
    },
    "gem_group": {**GROUPS, "gem_variant": ["rows", "weighted"], "gem_sub_mean": [True, False]},
    "agem_group": {**GROUPS, "agem_group_rule": ["closed", "qp", "mean_h"], "agem_group_scope": ["block", "global"]},
    "ewc_group": {
        **GROUPS,
        "ewc_reverse": [False, True],
        "ewc_fisher": ["batch", "empirical"],
        "use_fisher": [True, False],
    },
}


@st.composite
def cases(draw, name):
    """Arguments of ``net`` and batches (x, t, y): networks, heads, orders of tasks that may return, batch sizes, margins."""
    n_tasks, split = draw(st.integers(2, 4)), name == "icarl" or draw(st.booleans())
    sets, C = None, draw(st.integers(2, 4))
    if split:
        numbers = draw(st.permutations(range(2 * n_tasks + 1)))  # unequal sets, in any order
        cuts = [*range(0, 2 * n_tasks, 2), len(numbers)]
        sets, C = [sorted(numbers[a:b]) for a, b in itertools.pairwise(cuts)], len(numbers)
    sizes = {
        "n_inputs": draw(st.integers(2, 7)),
        "n_layers": draw(st.integers(0, 3)),
        "n_hiddens": draw(st.integers(2, 6)),
        "n_outputs": C,
        "n_tasks": n_tasks,
        "task_outputs": sets,
        "seed": draw(st.integers(0, 10**6)),
        "lr": draw(st.sampled_from([0.02, 0.1])),
        "n_memories": draw(st.integers(1, 6)) + (C if name == "icarl" else 0),
        "memory_strength": draw(st.sampled_from([0.0, 0.1, 0.5, 2.0])),
        "n_epochs": 1,
    }
    options = {flag: draw(st.sampled_from(values)) for flag, values in OPTIONS.get(name, {}).items()}
    order = draw(st.permutations(range(n_tasks))) + draw(st.lists(st.integers(0, n_tasks - 1), max_size=2))
    generator, batches = torch.Generator().manual_seed(draw(st.integers(0, 10**6))), []
    B = draw(st.integers(1, 5))
    for t in order:
        own = list(range(C)) if sets is None else sets[t]
        for _ in range(draw(st.integers(3, 9))):
            x = torch.rand(B, sizes["n_inputs"], generator=generator, dtype=torch.float64)
            y = torch.tensor(own)[torch.randint(len(own), (B,), generator=generator)]
            batches.append((x, t, y))
    return {**sizes, **options}, batches


def differs(name, case, engine) -> float:
    """The largest difference of parameters after a task or at the end, relative to their norm."""
    given, batches = case
    model = net(name, engine=engine, **given).double()
    model.sample_tasks = given["n_tasks"]
    by_hand, worst = plain.make(model), 0.0
    for i, (x, t, y) in enumerate(batches):
        model.observe(x, t, y)
        by_hand.observe(x, t, y)
        if i + 1 == len(batches) or batches[i + 1][1] != t:
            theta = parameters(model)
            worst = max(worst, float((theta - by_hand.theta).norm() / by_hand.theta.norm()))
    return worst


def compare(name, engine, n_cases):
    """``n_cases`` cases; returns the worst difference."""
    differences = []

    @settings(max_examples=n_cases, suppress_health_check=list(HealthCheck))
    @given(cases(name))
    def every_case(case):
        try:
            differences.append(differs(name, case, engine))
        except plain.Tie:
            assume(False)
        assert differences[-1] < BOUND

    every_case()
    return len(differences), max(differences)


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("name", NAMES)
def test_the_method_is_its_plain_form(name, engine):
    compare(name, engine, 2)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("name", NAMES)
def test_the_method_is_its_plain_form_in_many_cases(name, engine, capsys):
    n, worst = compare(name, engine, SLOW_CASES)
    with capsys.disabled():
        print(f"\n{name}, {engine}: {n} cases, largest relative difference {worst:.1e}")


def test_every_method_has_a_plain_form():
    assert set(plain.METHODS) == set(NAMES)
