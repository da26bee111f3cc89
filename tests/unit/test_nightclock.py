"""The clock of nights and alarms: the machine's, or one that is faster and survives a restart."""

from __future__ import annotations

from daq.services.nightclock import night_clock, start_anew


def test_by_default_it_is_the_machines_own(tmp_path):
    assert night_clock(1.0, tmp_path, lambda: 7)() == 7
    assert not list(tmp_path.iterdir())


def test_a_faster_one_goes_on_after_a_restart(tmp_path):
    now = [1_000]
    first = night_clock(8.0, tmp_path, lambda: now[0])
    assert first() == 1_000
    now[0] = 2_000
    assert first() == 9_000
    second = night_clock(8.0, tmp_path, lambda: now[0])
    now[0] = 3_000
    assert second() == first() == 17_000
    start_anew(tmp_path)
    assert night_clock(8.0, tmp_path, lambda: now[0])() == 3_000
