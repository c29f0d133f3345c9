"""The methods, by name. Nothing is imported until a method is asked for.

A method is a module of this folder with a class ``Net(n_inputs, n_outputs, n_tasks, args)``. The table below gives each
of ours its line in ``--help``; any other module dropped into the folder is a method too if it has a ``Net``.
"""

import importlib
from typing import NamedTuple

from model.lookup import describe, names, resolve, source

__all__ = [
    "ALIASES",
    "METHODS",
    "Method",
    "UsageError",
    "build",
    "describe",
    "learning",
    "load",
    "names",
    "resolve",
    "shown",
    "source",
]


class Method(NamedTuple):
    """A row of the table: a line for ``--help``, the flags that this method uses and not every method does, what it learns."""

    text: str
    flags: tuple[str, ...] = ()
    learns: tuple[str, ...] = ("images",)


BOTH = ("images", "text")
UNLEARNING = ("forgetting_mode", "forgetting_task_ids", "forgetting_resee_size", "sign_attacked")
MEMORY = ("n_memories", *UNLEARNING)
MARGIN = ("memory_strength", *MEMORY)
SAMPLE = ("task_sample", *UNLEARNING)
PENALTY = ("n_memories", "memory_strength", "ewc_fisher", *SAMPLE)
REPLAY = ("memories", "replay_batch_size")
OGD = ("ogd_mode", "ogd_per_task", "ogd_max_basis", "ogd_record", "ogd_projects")
NCL = ("ncl_data_size", "ncl_momentum", "ncl_lambda", "ncl_alpha", "ncl_sum", "ncl_fisher", "ncl_radius", "ncl_diag")
DAS = ("das_proxy", "das_proxy_data", "das_contrast", "das_temperature", "das_initial", "das_masks")
GROUPS = ("num_groups", "group_xi", "create_random_groups", "create_group_per_unit", "divergence", "if_output_cov",
          "cov_recompute_every", "cov_first_task_buffer", "ewc_reverse", "fork_compat")  # fmt: skip
GEM_GROUPS = (*GROUPS, "gem_reverse", "gem_ignore_relatedness")
METHODS = {
    "single": Method("one network trained task after task by plain SGD; keeps nothing (the lower baseline)", (), BOTH),
    "joint": Method("single on all tasks together, in one shuffled stream (the upper bound)", (), BOTH),
    "independent": Method("a narrower network for each task (the baseline of Lopez-Paz & Ranzato 2017)", ("finetune",)),
    "multimodal": Method("a first layer for each task, all others shared (the same; taskinput in MER)"),
    "ewc": Method("elastic weight consolidation as in GEM's code, in O(p) form (Kirkpatrick et al. 2017)", PENALTY, BOTH),
    "gem": Method("gradient episodic memory: one constraint per past task, a QP (Lopez-Paz & Ranzato 2017)", MARGIN),
    "agem": Method("A-GEM from summed losses: r = sum of the tasks' gradients, 1-D QP with margin (A-GEM note, way 1)", MARGIN),
    "agem_closed": Method("A-GEM, closed form on the mean of the tasks' gradients, no margin (A-GEM note, way 2; alias gdp)",
                          ("agem_trigger", *MEMORY)),
    "agem_meanqp": Method("A-GEM, 1-D QP with margin on the mean of the tasks' gradients (A-GEM note, way 3)",
                          ("agem_trigger", *MARGIN)),
    "agem_sampled": Method("A-GEM as published: a fresh random batch of all past memories (Chaudhry et al. 2019)",
                           ("agem_batch", *MEMORY)),
    "eralg4": Method("experience replay from a reservoir, example by example (Riemer et al. 2019, Algorithm 4)", REPLAY),
    "eralg5": Method("the same with an equal weight for every task in the batch (Algorithm 5)", REPLAY),
    "meralg1": Method("meta-experience replay: Reptile on batches from a reservoir (Riemer et al. 2019, Algorithm 1)",
                      (*REPLAY, "batches_per_example", "beta", "gamma")),
    "meralg6": Method("MER with one Reptile step a batch (Algorithm 6)", (*REPLAY, "batches_per_example", "gamma")),
    "meralg7": Method("MER with a higher rate for the current example (Algorithm 7)", (*REPLAY, "gamma", "s")),
    "ogd": Method("orthogonal gradient descent: steps orthogonal to stored output gradients (Farajtabar et al. 2020)",
                  (*OGD, *SAMPLE)),
    "spg": Method("soft-masking of parameter-level gradient flow by accumulated importance (Konishi et al. 2023)",
                  ("spg_chi", "spg_chi_loss", *SAMPLE)),
    "ncl": Method("natural continual learning: Kronecker-factored precision as trust region and prior (Kao et al. 2021)",
                  ("task_sample", *NCL)),
    "das": Method("soft-masking by the importance of heads and units, for masked language models (Ke et al. 2023)",
                  ("task_sample", *DAS), ("text",)),
    "icarl": Method("iCaRL: exemplars by herding, distillation, nearest class mean (Rebuffi et al. 2017)",
                    ("n_memories", "memory_strength")),
    "gem_group": Method("GEM in blocks of parameters, margins from tasks' relatedness (a withdrawn paper: docs/groups.md)",
                        (*MARGIN, *GEM_GROUPS, "gem_variant", "gem_sub_mean")),
    "agem_group": Method("A-GEM on a mean of gradients weighted by relatedness, block by block; O(p) memory",
                         (*MARGIN, *GEM_GROUPS, "agem_group_rule", "agem_group_scope")),
    "ewc_group": Method("EWC with tasks weighted by relatedness, block by block", (*PENALTY, *GROUPS, "use_fisher")),
}  # fmt: skip
ALIASES = {"gdp": "agem_closed", "online": "single", "taskinput": "multimodal"}  # the last two: MER's names


def learning(kind: str) -> list[str]:
    """The methods of the table that learn ``kind``: images or text."""
    return [name for name, method in METHODS.items() if kind in method.learns]


# Methods that model/reference/ has in the arithmetic of the GEM authors' code, and of MER's.
REFERENCE = ("single", "ewc", "gem", "independent", "multimodal", "eralg4", "eralg5", "meralg1", "meralg6", "meralg7")


class UsageError(Exception):
    """A user's mistake; its text is one sentence: what is wrong, the value, the remedy."""


def shown(text: str, most: int = 60) -> str:
    """A word of the user as a sentence about it repeats it: its first ``most`` characters, if it is longer."""
    return text if len(text) <= most else f"{text[:most]}..."


def load(name: str, parity: bool = False):
    """The module of the method ``name`` (as ``resolve`` returns it).

    With ``parity`` the module comes from ``model/reference/``, if the method is there. ``UsageError`` if the module has
    no ``Net``, or if a module that is not ours cannot be imported.
    """
    from model import foreign

    folder = f"{__name__}.reference" if parity and name in REFERENCE else __name__
    with foreign.told(name, "cannot be imported"):
        module = importlib.import_module(f"{folder}.{name}")
    if not hasattr(module, "Net"):
        raise UsageError(
            f"--model {name!r}: model/{name}.py has no class Net, so it is a helper, not a method; "
            f"the names are: {', '.join(names())}"
        )
    return module


def build(module, data, args):
    """Make the ``Net`` of a method's module for the tasks in ``data`` (``n_inputs``, ``n_outputs``, ``train``).

    Its parameters have the dtype of the images and lie on the device that ``args.cuda`` names.
    """
    from model import foreign

    model = module.Net(data.n_inputs, data.n_outputs, data.n_tasks, args)
    foreign.require_contract(model)
    dtype = data.train[0][1].dtype
    model = model.double() if dtype.is_floating_point and dtype.itemsize == 8 else model
    return model.cuda() if args.cuda else model
