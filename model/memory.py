"""Episodic memories. Each knows which of its rows were written; a row that never was is never returned."""

import torch

from model import UsageError, room


class RingMemory:
    """The last ``capacity`` examples of each task.

    With ``shared_pointer`` it fills as the reference does. All tasks share one pointer, which does not return to 0 when
    a task ends. The examples of a batch that do not fit before the end of the ring are dropped. ``flag`` is where the
    capacity comes from.
    """

    def __init__(self, n_tasks: int, capacity: int, shared_pointer: bool = False, flag: str = "n_memories"):
        self.n_tasks, self.capacity, self.shared_pointer = n_tasks, capacity, shared_pointer
        self.what = f"--{flag} {capacity}: what {n_tasks} tasks store"
        room.require(n_tasks * capacity, self.what)  # the mask; the examples' size is not known yet
        self.pointers = [0] * n_tasks
        self.written = torch.zeros(n_tasks, capacity, dtype=torch.bool)
        self.x = self.y = None  # (n_tasks, capacity, n_inputs) and (n_tasks, capacity), made at the first write

    def write(self, task: int, x: torch.Tensor, y: torch.Tensor) -> None:
        """Store the batch x (B, n_inputs), y (B,) of one task."""
        if self.x is None:
            room.require(self.n_tasks * self.capacity * (x[0].nbytes + y[0].nbytes), self.what, x.is_cuda)
            self.x = x.new_zeros(self.n_tasks, self.capacity, x.shape[1])
            self.y = y.new_zeros(self.n_tasks, self.capacity)
        start, n = self.pointers[task], len(y)
        if self.shared_pointer:
            n = min(n, self.capacity - start)
        elif n > self.capacity:  # only the last ones would stay
            x, y = x[n - self.capacity :], y[n - self.capacity :]
            start, n = (start + n - self.capacity) % self.capacity, self.capacity
        first = min(n, self.capacity - start)
        self._store(task, start, x[:first], y[:first])
        if first < n:
            self._store(task, 0, x[first:n], y[first:n])
        self._advance(task, (start + n) % self.capacity)

    def _store(self, task, start, x, y):
        end = start + len(y)
        self.x[task, start:end] = x
        self.y[task, start:end] = y
        self.written[task, start:end] = True

    def _advance(self, task, pointer):
        if self.shared_pointer:
            self.pointers = [pointer] * self.n_tasks
        else:
            self.pointers[task] = pointer

    def rows(self, tasks: list[int]):
        """All that is stored of ``tasks``, task by task: x (N, n_inputs), y (N,), task ids (N,).

        With a shared pointer every row must have been written.
        """
        if self.x is None or not tasks:
            return None
        if self.shared_pointer:
            self.require_complete(tasks)
        written = self.written[tasks]
        ids = torch.tensor(tasks).repeat_interleave(written.sum(1))
        chosen = written.to(self.x.device)
        return self.x[tasks][chosen], self.y[tasks][chosen], ids

    def require_complete(self, tasks) -> None:
        """``UsageError`` if a row of ``tasks`` was not written: the reference would train on whatever lies in memory."""
        for task in tasks:
            n = int(self.written[task].sum())
            if n < self.capacity:
                raise UsageError(
                    f"--parity yes: only {n} of --n_memories {self.capacity} rows of task {task} were written, and the "
                    "reference would use the rest unwritten; give fewer --n_memories or --parity no"
                )

    def erase(self, tasks) -> None:
        """Delete what is stored of ``tasks``."""
        for task in tasks:
            self.pointers[task] = 0
            self.written[task] = False
            if self.x is not None:
                self.x[task], self.y[task] = 0, 0

    def checkpoint(self) -> dict:
        return {"pointers": list(self.pointers), "written": self.written.clone(), **_copy(x=self.x, y=self.y)}

    def restore(self, state: dict) -> None:
        """The counterpart of ``checkpoint``; the state may be of fewer tasks."""
        more = self.n_tasks - len(state["pointers"])
        self.pointers = [*state["pointers"], *[0] * more]
        self.written, self.x, self.y = (
            None if state[k] is None else _grown(state[k], more) for k in ("written", "x", "y")
        )


class ReservoirMemory:
    """A uniform sample of at most ``capacity`` examples of everything offered (Vitter 1985, algorithm R).

    After n > capacity examples each is stored with probability capacity / n. Draws come from a generator of its own.
    ``flag`` is where the capacity comes from.
    """

    def __init__(self, capacity: int, seed: int, flag: str = "task_sample"):
        self.capacity, self.seen = capacity, 0
        self.what = f"--{flag} {capacity}: what is stored"
        room.require(16 * capacity, self.what)  # labels and tasks; the examples' size is not known yet
        self.generator = torch.Generator().manual_seed(seed)
        self._number = torch.empty((), dtype=torch.long)
        self.x = self.y = self.tasks = None

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def write(self, task: int, x: torch.Tensor, y: torch.Tensor) -> None:
        """Offer the batch x (B, n_inputs), y (B,) of one task. ``y`` may have more axes, such as logits (B, C)."""
        if self.x is None:
            room.require(self.capacity * (x[0].nbytes + y[0].nbytes + 8), self.what, x.is_cuda)
            self.x = x.new_zeros(self.capacity, x.shape[1])
            self.y = y.new_zeros(self.capacity, *y.shape[1:])
            self.tasks = torch.zeros(self.capacity, dtype=torch.long)
        for i in range(len(y)):
            row = self.place()
            self.seen += 1
            if row < self.capacity:
                self.x[row], self.y[row], self.tasks[row] = x[i], y[i], task

    def place(self) -> int:
        """The row that the next example is offered; it is stored if that is below the capacity."""
        if self.seen < self.capacity:
            return self.seen
        return self._number.random_(0, self.seen + 1, generator=self.generator).item()

    def draw(self, k: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """The indices of min(k, N) stored examples, drawn one by one, each uniformly from all N: some may be equal.

        ``out``: memory for them.
        """
        n = len(self)
        if out is None:
            out = torch.empty(min(k, n), dtype=torch.long)
        return out.random_(0, n, generator=self.generator) if n else out

    def shuffled(self, k: int) -> torch.Tensor:
        """The numbers 0 to k - 1 in a random order."""
        return torch.randperm(k, generator=self.generator)

    def rows(self):
        """All that is stored: x (N, n_inputs), y (N, ...), task ids (N,); None if nothing is."""
        n = len(self)
        return (self.x[:n], self.y[:n], self.tasks[:n]) if n else None

    def clear(self) -> None:
        """Delete all examples; the generator keeps its state."""
        self.seen, self.x, self.y, self.tasks = 0, None, None, None

    def checkpoint(self) -> dict:
        state = {"seen": self.seen, "generator": self.generator.get_state()}
        return {**state, **_copy(x=self.x, y=self.y, tasks=self.tasks)}

    def restore(self, state: dict) -> None:
        self.seen = state["seen"]
        self.generator.set_state(state["generator"])
        self.x, self.y, self.tasks = (None if state[k] is None else state[k].clone() for k in ("x", "y", "tasks"))


class TaskSample(ReservoirMemory):
    """A sample of the current task's examples. Where it has room for all of them it keeps each once, whatever the epochs.

    ``args.task_sizes``, which only our ``main.py`` sets, says how many examples each task has.
    """

    def __init__(self, args):
        super().__init__(args.task_sample, args.seed)
        self.sizes = getattr(args, "task_sizes", None)

    def write(self, task, x, y):
        if self.sizes and self.sizes[task] <= self.capacity:
            left = max(0, self.sizes[task] - self.seen)
            x, y = x[:left], y[:left]
        if len(y):
            super().write(task, x, y)


def _grown(rows: torch.Tensor, n: int) -> torch.Tensor:
    """A copy with n more rows of zeros."""
    return torch.cat((rows, rows.new_zeros(n, *rows.shape[1:]))) if n else rows.clone()


def _copy(**tensors) -> dict:
    return {name: None if tensor is None else tensor.clone() for name, tensor in tensors.items()}


def set_rows(engine, stored, weighting) -> float:
    """Give an engine the examples ``stored`` that a memory's ``rows`` returned; None clears the engine's rows.

    ``weighting(task ids)`` gives the rows. Returns the sum of a row's weights in units of one task's mean loss: t if a
    row is the sum of t tasks' means, 1 if it is a mean, 0 without rows.
    """
    if stored is None:
        engine.clear_rows()
        return 0.0
    weights = weighting(stored[2])
    engine.set_rows(*stored, weights)
    return round(float(weights[0].sum()), 6)


def per_task(tasks: torch.Tensor) -> torch.Tensor:
    """Weights (t, N) in float64: a row for each task in ``tasks`` (N,), the mean of its examples."""
    members = (tasks.unique_consecutive().unsqueeze(1) == tasks).double()
    return members / members.sum(1, keepdim=True)


def summed(tasks: torch.Tensor) -> torch.Tensor:
    """Weights (1, N) of one row: the sum of the tasks' means."""
    sizes = tasks.unique_consecutive(return_counts=True)[1]
    return (1.0 / sizes.double()).repeat_interleave(sizes).unsqueeze(0)


def averaged(tasks: torch.Tensor) -> torch.Tensor:
    """Weights (1, N) of one row: the mean of the tasks' means."""
    return summed(tasks) / len(tasks.unique_consecutive())


def portions(tasks: torch.Tensor) -> torch.Tensor:
    """Weights (t, N) of a row for each task, which add up to ``averaged``."""
    rows = per_task(tasks)
    return rows / len(rows)


def pooled(tasks: torch.Tensor) -> torch.Tensor:
    """Weights (1, N) of one row: the mean of all examples, whatever their task."""
    return torch.full((1, len(tasks)), 1.0 / len(tasks), dtype=torch.float64)
