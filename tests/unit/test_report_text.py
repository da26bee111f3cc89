"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.report import text

DASH = "\N{EN DASH}"


def spaced(found: str) -> str:
    return found.replace(text.NARROW, " ")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0102, "K", "10.2 mK"),
        (46.26, "K", "46.3 K"),
        (1.84e-3, "V", "1.84 mV"),
        (-2.5e-6, "V", "-2.50 µV"),
        (12.5, "uA", "12.5 µA"),
        (2500.0, "uA", "2.50 mA"),
        (100.0, "kohm", "100 kΩ"),
        (0.0, "V", "0 V"),
        (1e-30, "V", "1.00e-15 fV"),
        (52.1, "%", "52.1 %"),
        (0.37, "phi0", "0.370 phi0"),
        (2.104, "", "2.10"),
        (None, "V", DASH),
        (float("nan"), "V", DASH),
        (float("inf"), "V", DASH),
    ],
)
def test_a_quantity_has_its_prefix_and_unit(value: float | None, unit: str, expected: str) -> None:
    assert spaced(text.quantity(value, unit)) == expected


@given(st.floats(1e-14, 1e11), st.sampled_from(sorted(text.UNITS)))
def test_scaling_keeps_the_value_and_brings_it_between_1_and_1000(value: float, unit: str) -> None:
    factor, symbol = text.scale(value, unit)
    si, base = text.UNITS[unit]
    exponents = {p: e for e, p in text.PREFIXES.items()}
    assert value * factor * 10.0 ** exponents[symbol.removesuffix(base)] == pytest.approx(
        value * si
    )
    assert 1 - 1e-6 <= value * factor < 1000 or not 1e-15 <= value * si < 1e12


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0123, "12.3 ms"),
        (20.0, "20.0 s"),
        (59.9, "59.9 s"),
        (60.0, "1 min 00 s"),
        (3599.9, "1 h 00 min 00 s"),
        (28_800.4, "8 h 00 min 00 s"),
    ],
)
def test_a_span_is_told_in_the_units_people_use(seconds: float, expected: str) -> None:
    assert spaced(text.span(seconds)) == expected


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0.0, 60.0, "0 %"),
        (1e-6, 60.0, "<0.01 %"),
        (59.0, 60.0, "98.33 %"),
        (60.0, 60.0, "100.00 %"),
        (59.999999, 60.0, ">99.99 %"),
        (0.0, 0.0, DASH),
    ],
)
def test_a_share_rounds_nothing_away(part: float, whole: float, expected: str) -> None:
    assert spaced(text.share(part, whole)) == expected


def test_times_are_utc() -> None:
    t_ns = 1_790_000_000_123_456_789
    assert text.utc(t_ns) == "2026-09-21 14:13:20 UTC"
    assert text.rfc3339(t_ns) == "2026-09-21T14:13:20.123456Z"
    assert text.utc(None) == DASH


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.01, "0.01"), (1, "1"), (10_000, "10 000"), (1e6, "10⁶"), (1e-9, "10⁻⁹")],
)
def test_ticks_of_logarithmic_axes_are_short(value: float, expected: str) -> None:
    assert spaced(text.power(value)) == expected


def test_bytes_that_are_no_text_still_show() -> None:
    assert text.words("10 µK".encode()) == "10 µK"
    assert text.words(b"caf\xc3") == "caf\N{REPLACEMENT CHARACTER}"
