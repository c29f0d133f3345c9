"""scripts/studies/related_tasks.py: rank correlations and gains, by hand."""

import pytest

from scripts.studies import related_tasks
from tests.results.records import make, write

ANGLES = [10.0, 60.0, 90.0, 150.0, 60.0]
FOUND = {
    "task": [1, 2, 3, 4],
    "past": [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]],
    # From 150 degrees, the distances 140, 90, 60 have the ranks of .9, .2, .5: 1 - 6 (0 + 1 + 1) / 24 = .5.
    # From 60 degrees, 50, 0, 30, 90: the divergences are in the same order.
    # The ages 3, 2, 1 have the ranks of .9, .2, .5 as well: .5. Those of .5, .1, .3, .7 are 3, 1, 2, 4, for the ages 4, 3,
    # 2, 1: 1 - 6 (1 + 4 + 0 + 9) / 60 = -.4.
    "divergence": [[0.3], [0.1, 0.2], [0.9, 0.2, 0.5], [0.5, 0.1, 0.3, 0.7]],
    "rho": [[1.0], [0.7, 0.3], [0.1, 0.6, 0.3], [0.2, 0.4, 0.3, 0.1]],
    "descriptions": ANGLES,
}


def test_correlations_and_twins_by_hand():
    assert related_tasks.correlations(FOUND, "angles") == pytest.approx([0.5, 1.0])
    assert related_tasks.correlations(FOUND, "age") == pytest.approx([0.5, -0.4])
    assert related_tasks.largest(FOUND) == pytest.approx([1.8, 1.6])
    assert related_tasks.twins(FOUND) == [(1.0, 0.25)]


def test_tables(tmp_path, capsys):
    runs = []
    for seed, final in enumerate((0.5, 0.6)):
        for flags, gain in (
            ({}, 0.02),
            ({"gem_ignore_relatedness": True}, 0.0),
            ({"divergence": "LogDet"}, 0.1 * seed),
            ({"num_groups": 5}, 0.03),
            ({"num_groups": 5, "gem_ignore_relatedness": True}, 0.02),
        ):
            grid = [[0.5] * 5] * 4 + [[final + gain] * 5]
            runs.append(make("gem_group", seed, grid=grid, baseline=[0.1] * 5, data_file="a.pt", **flags))
            if not flags:
                runs[-1]["probes"] = {"relatedness": FOUND}
    assert related_tasks.main([write(tmp_path / "r", *runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    known = "+0.75 [+0.75, +0.75] | +0.05 [+0.05, +0.05] | 1.70 | 1.00 (chance 0.25) |"
    assert "a.pt" in lines[0] and [line for line in lines if line.startswith("| `")] == [
        "| `gem_group` | no relatedness | 2 | 0.550 ± 0.071 | - | - | - | - | - |",
        "| `gem_group` | no relatedness, 5 groups | 2 | 0.570 ± 0.071 | - | - | - | - | - |",
        f"| `gem_group` | relatedness | 2 | 0.570 ± 0.071 | +0.020 [+0.020, +0.020] | {known}",
        "| `gem_group` | 5 groups | 2 | 0.580 ± 0.071 | +0.010 [+0.010, +0.010] | - | - | - | - |",
        "| `gem_group` | LogDet | 2 | 0.600 ± 0.141 | +0.050 [-0.585, +0.685] | - | - | - | - |",
    ]
