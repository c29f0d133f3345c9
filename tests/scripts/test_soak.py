"""scripts/soak.py: its windows, and what it says of them."""

import pytest

from scripts import soak


def test_a_short_soak_has_twenty_windows():
    lines = []
    windows = soak.soak("gem_group", 80, 4, lines.append, n_layers=1, n_hiddens=6)
    assert len(windows) == len(lines) == soak.WINDOWS and lines[-1].startswith("       80 steps")
    assert all(memory > 10 and time > 0 and 0 <= violated <= 1 for memory, time, violated in windows)


@pytest.mark.parametrize(("grown", "slower", "status"), [(0.0, 1.0, 0), (4.9, 1.4, 0), (5.1, 1.0, 1), (0.0, 1.6, 1)])
def test_growth_and_slowness_are_its_status(monkeypatch, capsys, grown, slower, status):
    half = soak.WINDOWS // 2
    windows = [(100.0, 10.0, 0.0)] * half + [(100.0 + grown, 10.0 * slower, 0.0)] * half
    monkeypatch.setattr(soak, "soak", lambda *_, **__: windows)
    assert soak.cli(["--model", "gem"]) == status
    assert f"memory grew by {grown:.2f} MB in the last half" in capsys.readouterr().out
