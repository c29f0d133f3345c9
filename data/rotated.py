"""What the builders of rotations share: all images of a task rotated by the task's angle, which is its description."""

from data import building, streams


def builder(module, name, side):
    """The `build` of a builder's `module` (its name) for the raw set `name` of side x side images."""

    def build(
        out,
        n_tasks=20,
        seed=0,
        min_rot=0.0,
        max_rot=90.0,
        step=None,
        rounds=1,
        raw_path=None,
        n_train=None,
        n_test=None,
        dtype=None,
    ):
        """Write the data file `out`; DataError if an argument is out of range or the raw files are missing."""
        stream = streams.rotations(side, n_tasks, seed, min_rot, max_rot, step, rounds)
        building.build_indexed(out, name, stream, raw_path, n_train, n_test, dtype)

    build.__module__ = module  # whose docstring is the command's help
    return build
