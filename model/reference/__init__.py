"""``--parity yes``: the methods that the GEM authors' code has, with its arithmetic to the last bit.

A module here stands in for the method of the same name. What it computes is what the method computes; what it keeps of
the reference is everything that decides a rounding: one tensor a parameter, each in memory of its own; losses through
autograd over the task's slice of the outputs; sums in the reference's order and on its strides. One flipped bit is
enough to change a run: with a margin, ties of the projection are frequent, and training amplifies what they decide.
"""

from contextlib import contextmanager

from model import common


@contextmanager
def conditions():
    """What every method, a foreign one too, needs around its run: plain layouts, and numpy's products on one thread.

    Kernels of torch follow ``--threads``, which is 1 in parity; numpy's do not.
    """
    import threadpoolctl

    with common.resnet_layout(plain=True), threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
