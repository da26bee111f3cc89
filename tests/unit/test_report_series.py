"""Readings, parameter by parameter."""

from __future__ import annotations

import numpy as np

from daq.model.record import READING, plain
from daq.report.curves import CHUNKS
from daq.report.series import all_series, line
from tests.report_run import START_NS, rows


def reading(
    second: float, parameter: str, value: float, source: str = "read"
) -> tuple[object, ...]:
    t_ns = START_NS + round(second * 1e9)
    return t_ns, b"fridge", parameter.encode(), value, b"K", source.encode(), b""


def test_readings_are_sorted_by_parameter_and_time() -> None:
    table = rows(
        READING,
        reading(1, "b", 4.0),
        reading(1, "a", 1.0),
        reading(0, "b", 3.0),
        reading(2, "a", np.nan, "error"),
    )
    b, a = all_series(table)
    assert (b.parameter, b.values.tolist(), b.varies) == ("b", [3.0, 4.0], True)
    assert (a.parameter, a.errors, a.varies, a.unit) == ("a", 1, False, "K")
    assert a.extent == (1.0, 1.0, 1.0)
    assert all_series(table[:0]) == []


def test_what_was_never_a_number_has_no_extent() -> None:
    (mode,) = all_series(rows(READING, reading(0, "mode", np.nan)))
    assert mode.extent == (None, None, None)
    assert not mode.varies


def test_a_line_breaks_where_a_reading_failed_or_the_instrument_was_silent() -> None:
    seconds = [*range(10), *range(100, 110)]
    table = rows(READING, *(reading(s, "a", np.nan if s == 4 else float(s)) for s in seconds))
    (found,) = all_series(table)
    drawn = line(found, START_NS)
    assert drawn.x[np.isnan(drawn.y)].tolist() == [4.0, 100.0]
    assert drawn.y[~np.isnan(drawn.y)].tolist() == [float(s) for s in seconds if s != 4]


def test_what_was_read_before_the_start_is_known_at_the_start() -> None:
    (found,) = all_series(rows(READING, reading(-500, "a", 1.0), reading(1, "a", 2.0)))
    drawn = line(found, START_NS)
    assert drawn.x.tolist() == [0.0, 1.0]


def test_a_night_of_readings_becomes_a_bounded_line() -> None:
    table = np.zeros(28_800, plain(READING))
    table["t_ns"] = START_NS + np.arange(28_800) * 10**9
    table["value"] = np.random.default_rng(1).normal(0.01, 1e-5, 28_800)
    (found,) = all_series(table)
    drawn = line(found, START_NS)
    assert len(drawn.x) <= 2 * CHUNKS
    assert drawn.y.max() == table["value"].max()
