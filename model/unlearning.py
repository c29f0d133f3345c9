"""Selective unlearning: a phase after training that unlearns some tasks and keeps the others.

A are the attacked tasks, R the other learned ones, sigma = `--sign_attacked` in [-1, 1]. For each t in R in order, the
first `--forgetting_resee_size` batches of t are seen again; a step goes along the gradient g of the batch, corrected from
memory so that the tasks of R are protected as ever, while the gradient of a task a in A enters as sigma g_a: with
sigma < 0 its loss must not decrease, and a margin turns that into ascent. Two guards, both memoryless:

* a task whose loss has reached log(number of its outputs), that of guessing, is left alone in that step;
* sigma g_a is clipped to the length of g: the gradients of a confident network blow up.

The phase writes nothing into memories; after it the memory of A is deleted. There is no published source: the public fork
that introduced the flags never finished the feature.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model import UsageError, arguments
from model.memory import RingMemory, per_task, set_rows
from model.numeric.projection import Correction


class Attack(NamedTuple):
    """The attacked tasks and the sign with which their gradients enter."""

    tasks: frozenset
    sign: float

    def scales(self, g, rows: list[int], gram: np.ndarray, outputs) -> np.ndarray:
        """What each row's gradient is multiplied by, (R,): 1 where its task is protected, else sigma, clipped, or 0.

        ``rows`` are the rows' tasks, ``gram`` their inner products, ``outputs`` the tasks' outputs.
        """
        length = float(g.flat().norm())
        result = np.ones(len(rows))
        for r, task in enumerate(rows):
            if task in self.tasks:
                on = g.losses[1 + r] < math.log(outputs.count(task))
                norm = abs(self.sign) * math.sqrt(max(gram[r, r], 0.0))
                result[r] = self.sign * (min(1.0, length / norm) if norm else 1.0) if on else 0.0
        return result

    def along_rows(self, g, rows: list[int], outputs, rule: Callable) -> Correction | None:
        """GEM's step: one constraint for each row that is on; ``rule(dots, gram)`` as in ``projection``."""
        if not rows:
            return None
        gram = g.gram()
        scales = self.scales(g, rows, gram, outputs)
        (on,) = scales.nonzero()
        s = scales[on]
        correction = rule(g.dots()[on] * s, lambda: gram[np.ix_(on, on)] * np.outer(s, s)) if len(on) else None
        if correction is None:
            return None
        weights = np.zeros(len(rows))
        weights[on] = correction.weights * s
        return correction._replace(weights=weights)

    def along_mean(self, g, rows: list[int], outputs, rule: Callable) -> Correction | None:
        """A-GEM's step: r = mean of the protected tasks' gradients + mean of the attacked tasks', scaled."""
        if not rows:
            return None
        gram = g.gram()
        u = self.scales(g, rows, gram, outputs)
        attacked = np.array([task in self.tasks for task in rows])
        for part in (attacked, ~attacked):
            u[part] /= max(1, part.sum())
        correction = rule(np.array([u @ g.dots()]), lambda: np.array([[u @ gram @ u]]))
        return None if correction is None else correction._replace(weights=u * correction.weights)


class KeptExamples:
    """What a method that keeps no examples of old tasks keeps of them where `--forgetting_mode` asks for it.

    ``--task_sample`` examples a task, the last ones, for the ascent term and its stop rule: memory that grows with T.
    """

    def __init__(self, n_tasks: int, args, method: str):
        self.memory: RingMemory | None = None
        if args.forgetting_mode:
            arguments.require_task_sample(args, method)
            self.memory = RingMemory(n_tasks, args.task_sample, flag="task_sample")
            print(
                f"note: {args.task_sample} examples a task are kept, to unlearn by: memory grows with tasks",
                file=sys.stderr,
            )
        self.attack: Attack | None = None
        self.rows: list[int] = []

    def write(self, task: int, x, y) -> None:
        """Keep a batch, if anything is kept at all."""
        if self.memory is not None:
            self.memory.write(task, x, y)

    def begin(self, attack: Attack, engine) -> bool:
        """Give the engine a row for each attacked task; True the first time."""
        if self.attack == attack:
            return False
        self.attack = attack
        self.rows = [task for task in sorted(attack.tasks) if bool(self.memory.written[task].any())]
        set_rows(engine, self.memory.rows(self.rows), per_task)
        return True

    def ascent(self, g, outputs) -> Correction | None:
        """A term of the step: the mean of the attacked tasks' gradients, scaled."""
        if not self.rows:
            return None
        scales = self.attack.scales(g, self.rows, g.gram(), outputs)
        return Correction(scales / len(scales)) if scales.any() else None

    def end(self, attack: Attack, engine) -> None:
        """Delete what is kept of the attacked tasks."""
        self.memory.erase(attack.tasks)
        engine.clear_rows()
        self.attack, self.rows = None, []

    def checkpoint(self) -> dict:
        attack = None if self.attack is None else [sorted(self.attack.tasks), self.attack.sign]
        memory = None if self.memory is None else self.memory.checkpoint()
        return {"memory": memory, "attack": attack, "rows": list(self.rows)}

    def restore(self, state: dict) -> None:
        if state["memory"] is not None and self.memory is not None:
            self.memory.restore(state["memory"])
        self.attack, self.rows = None, list(state["rows"])
        if state["attack"] is not None:
            tasks, sign = state["attack"]
            self.attack = Attack(frozenset(tasks), sign)


def plan(args, n_tasks: int, module, method: str) -> Attack:
    """What the flags ask for, checked before any training. ``UsageError`` names the flag, the value and the remedy."""
    text = args.forgetting_task_ids
    if not hasattr(module.Net, "unlearn"):
        reason = getattr(module.Net, "cannot_unlearn", "it has no step for that")
        raise UsageError(
            f"--forgetting_mode True: {method} cannot unlearn single tasks: {reason}; give another --model"
        )
    try:
        tasks = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"--forgetting_task_ids {text}: not numbers of tasks; give 0,5, say") from None
    if not tasks:
        raise UsageError(
            f"--forgetting_task_ids {text!r}: --forgetting_mode needs tasks to unlearn; give 0,5, say, or leave "
            "--forgetting_mode out"
        )
    times = Counter(tasks)
    for task in tasks:
        if not 0 <= task < n_tasks:
            raise UsageError(f"--forgetting_task_ids {text}: there is no task {task}; give ids from 0 to {n_tasks - 1}")
        if times[task] > 1:
            raise UsageError(f"--forgetting_task_ids {text}: task {task} is named twice; name it once")
    if len(tasks) == n_tasks:
        raise UsageError(f"--forgetting_task_ids {text}: names every task; leave at least one to be kept")
    return Attack(frozenset(tasks), args.sign_attacked)


def phase(model, continuum, attack: Attack, args, seen: dict[int, int] | None = None, between=None) -> dict[int, int]:
    """The phase itself; returns ``seen``, the number of batches that each kept task had to give.

    ``model.finish_task()``, where the method has it, comes first. ``model.unlearn(x, t, y, attack)`` is a step;
    ``model.unlearned(attack)``, at the end, deletes what is kept of A. A dict ``seen`` is filled as the phase goes on,
    and a phase goes on from there. ``between(step, boundary)``, if given, is called before every step but the first.
    """
    seen = {} if seen is None else seen
    if not seen:
        getattr(model, "finish_task", lambda: None)()
    begun = step = sum(seen.values())
    for t in continuum.order:
        if t in attack.tasks:
            continue
        for x, y in continuum.batches(t, args.forgetting_resee_size, seen.setdefault(t, 0)):
            if between and step > begun:
                between(step, seen[t] == 0)
            model.unlearn(x, t, y, attack)
            seen[t] += 1
            step += 1
    model.unlearned(attack)
    return seen
