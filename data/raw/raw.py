"""Fetch and verify raw data sets: python raw.py [mnist] [fashion_mnist] [cifar100] [omniglot]; the first three by default.

Files found on this machine are verified and stay where they are. The others are downloaded into this folder.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from data import DataError, sources  # noqa: E402

DEFAULT = ("mnist", "fashion_mnist", "cifar100")


def main(argv=None):
    """Fetch the named data sets; exit status 2 if one can be neither found nor downloaded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(sources.RAW_SETS))
    status = 0
    for name in parser.parse_args(argv).names or DEFAULT:
        try:
            if name not in sources.RAW_SETS:
                raise DataError(f"{name}: no such data set; there are {', '.join(sources.RAW_SETS)}")
            n_bytes = sum(map(len, sources.read_files(name).values()))
            print(f"{sources.RAW_SETS[name].title}: verified, {n_bytes / 1e6:.1f} MB")
        except DataError as error:
            print(error, file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main())
