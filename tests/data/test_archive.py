"""Archives are files of torch.save, and hold in memory only what is being written."""

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data import files, serialized, stored
from data.archive import AHEAD, KINDS, Archive


def written(path, value, first=()):
    """``value`` as an archive; the tensors ``first`` are added before."""
    with open(path, "w+b") as file, Archive(file) as archive:
        for tensor in first:
            archive.add(tensor)
        archive.finish(value)


@given(
    dtypes=st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5),
    form=st.sampled_from(["whole", "rows", "turned"]),
    first=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_what_torch_load_reads(tmp_path_factory, dtypes, form, first, seed):
    """Tensors that are written before the value or with it, that share a storage, or lie in it with gaps."""
    path = tmp_path_factory.mktemp("a") / "a.pt"
    draw = torch.Generator().manual_seed(seed)
    tensors = [(torch.rand(6, 4, generator=draw) * 100).to(dtype) for dtype in dtypes]
    tensors = [{"whole": x, "rows": x[1:4], "turned": x.t()}[form] for x in tensors]
    tensors += [tensors[0][2:], tensors[0]]
    value = [[["task", x, None] for x in tensors], {"n": len(tensors)}]
    written(path, value, tensors[:first])
    read = torch.load(path, weights_only=True)
    assert read[1] == value[1] and [task[0] for task in read[0]] == ["task"] * len(tensors)
    for (_, x, _), y in zip(read[0], tensors, strict=True):
        assert x.dtype == y.dtype and x.stride() == y.stride() and torch.equal(x, y)
    assert read[0][-1][1].untyped_storage().data_ptr() == read[0][0][1].untyped_storage().data_ptr()
    ours, storages = serialized.read(stored.File(path))
    assert len(storages) == len(dtypes)
    assert all(torch.equal(task[1].read(), y) for task, y in zip(ours[0], tensors, strict=True))


def test_tensors_go_as_soon_as_they_are_written(tmp_path):
    alive, most = weakref.WeakSet(), 0

    def tasks():
        nonlocal most
        for t in range(12):
            x = torch.rand(50, 3)
            alive.add(x)
            most = max(most, len(alive))
            yield f"task {t}", x, torch.zeros(50, dtype=torch.long)

    files.save(tmp_path / "a.pt", tasks(), tasks())
    assert AHEAD <= most <= 2 * AHEAD + 3
    assert len({tuple(x[0].tolist()) for _, x, _ in files.load(tmp_path / "a.pt").train}) == 12


def test_an_error_of_writing_is_raised(tmp_path):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises((OSError, RuntimeError)), Archive(Full()) as archive:
        for _ in range(AHEAD + 2):
            archive.add(torch.rand(2**16))
