"""What the console computes, without Qt: history, noise, spectra, forms, the cryostat, scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.errors import WireError
from daq.readout.calibration import Calibration, Curve, Point
from gui.keys import KEYS
from gui.model.array import places
from gui.model.cryostat import base, stages
from gui.model.forms import Forms, Kind, Line, labelled, shown_reading
from gui.model.history import COARSE_S, FINE_KEPT, Series
from gui.model.noise import of_stream, thinned, white_and_slow
from gui.model.scales import Coupling, Scales, couplings_of
from gui.model.services import ReadingItem
from gui.model.spectra import SpectraBook
from gui.model.text import age


def test_a_spike_stays_in_the_history_for_days() -> None:
    series = Series()
    for second in range(3 * FINE_KEPT):
        series.add(float(second), 50.0 if second == 7 else 1.0)
    times, values = series.since(0.0)
    assert values.max() == 50.0  # in the minute's extremes, long after the second is gone
    assert (np.diff(times) >= 0).all()
    assert len(times) < FINE_KEPT + 2 * 3 * FINE_KEPT / COARSE_S + 2


def test_history_lets_go_what_comes_too_often_and_what_is_no_number() -> None:
    series = Series()
    for t_s, value in ((0.0, 1.0), (0.1, 2.0), (1.0, float("nan")), (1.5, 3.0)):
        series.add(t_s, value)
    assert series.since(0.0)[1].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("pulses", [0, 1])
def test_white_noise_has_its_density_also_with_pulses_in_it(pulses: int) -> None:
    rate_hz, n = 50e3, 200_000
    volts = np.random.default_rng(2).normal(0.0, 1e-3, n)
    for at in range(pulses):
        volts[20_000 * (3 + at) :][:5000] += np.exp(-np.arange(5000) / 500)
    density = of_stream(volts, rate_hz)
    expected = 1e-3 / np.sqrt(rate_hz / 2)
    white, _ = white_and_slow(density)
    assert white == pytest.approx(expected, rel=0.05)  # 32 pieces, of which a pulse spoils three
    frequencies, asd = thinned(density)
    assert len(frequencies) < 200
    assert np.median(asd) == pytest.approx(expected, rel=0.05)


def test_a_corner_is_found_where_it_is() -> None:
    rng, rate_hz, n = np.random.default_rng(3), 100e3, 2**19
    spectrum = np.fft.rfft(rng.normal(0.0, 1.0, n))
    f = np.fft.rfftfreq(n, 1 / rate_hz)
    f[0] = f[1]
    volts = np.fft.irfft(spectrum * np.sqrt(1 + 300.0 / f))
    _, corner_hz = white_and_slow(of_stream(volts, rate_hz))
    assert corner_hz == pytest.approx(300.0, rel=0.3)  # few bins below it


def spectrum(*counts: int) -> dict[str, Any]:
    return {"C": {"unit": "eV", "top": 4.0, "counts": list(counts)}}


def test_the_last_minutes_are_what_came_since() -> None:
    book = SpectraBook()
    book.take(spectrum(1, 0, 0, 0), 0.0)
    book.take(spectrum(1, 2, 0, 0), 100.0)
    book.take(spectrum(1, 2, 3, 0), 200.0)
    whole, last = book.of("C", None, 4, 200.0), book.of("C", 2.0, 4, 200.0)
    assert whole is not None
    assert last is not None
    assert whole.counts.tolist() == [1, 2, 3, 0]
    assert last.counts.tolist() == [0, 2, 3, 0]
    assert last.over_s == 200.0
    coarse = book.of("C", None, 2, 200.0)
    assert coarse is not None
    assert (coarse.counts.tolist(), coarse.edges.tolist()) == ([3, 3], [0.0, 2.0, 4.0])


def test_another_run_begins_its_spectra_anew() -> None:
    book = SpectraBook()
    book.take(spectrum(9, 9, 9, 9), 0.0)
    book.take(spectrum(1, 0, 0, 0), 100.0)
    shown = book.of("C", 60.0, 4, 101.0)
    assert shown is not None
    assert (shown.counts >= 0).all()
    with pytest.raises(WireError, match="expected spectra of channels"):
        book.take({"C": {"unit": 3}}, 200.0)


def line(kind: str, **more: Any) -> Line:
    return Line("i", "p", "", "", True, False, Kind(kind, **more))


@pytest.mark.parametrize(
    ("at", "text", "value"),
    [
        (line("number", minimum=0, maximum=2, unit="K"), "0.012", 0.012),
        (line("integer", minimum=1, maximum=16), "5", 5),
        (line("switch"), "on", True),
        (line("code", choices=("OFF", "ON")), "ON", "ON"),
        (line("code", choices=("10", "30"), unit="kohm"), "30", 30.0),
        (line("number", minimum=1, maximum=9, choices=("INF",)), "INF", "INF"),
        (line("text", maximum=15), "Channel 6", "Channel 6"),
    ],
)
def test_what_is_allowed_is_sent_as_what_it_is(at: Line, text: str, value: object) -> None:
    assert at.parse(text) == (value, "")


@pytest.mark.parametrize(
    ("at", "text", "why"),
    [
        (line("number", minimum=0, maximum=2, unit="K"), "3", "3 K is outside 0 to 2 K"),
        (line("number", unit="K"), "nan", "a finite number, not 'nan'"),
        (line("number", unit="K"), "cold", "a number"),
        (line("integer", minimum=1, maximum=16), "2.5", "a whole number, not '2.5'"),
        (line("switch"), "maybe", "off or on, not 'maybe'"),
        (line("code", choices=("OFF", "ON")), "DIM", "one of OFF | ON, not 'DIM'"),
        (line("text", maximum=3), "long", "at most 3 characters, not 4"),
    ],
)
def test_what_is_not_allowed_is_not_sent_and_says_why(at: Line, text: str, why: str) -> None:
    value, said = at.parse(text)
    assert value is None
    assert why in said


def test_a_list_that_is_none_is_refused() -> None:
    with pytest.raises(WireError, match="expected a list of instruments"):
        Forms().take({"fridge": {"model": 3}})


def test_what_is_not_known_is_a_dash_and_says_why() -> None:
    assert shown_reading(None) == ("\u2013", "stale", "not read yet")
    failed = ReadingItem(None, "K", "error", text="no answer")
    assert shown_reading(failed) == ("\u2013", "stale", "no answer")


def test_stages_are_sorted_and_the_coldest_that_is_fresh_is_the_base() -> None:
    def kelvin(value: float | None, **more: Any) -> ReadingItem:
        return ReadingItem(value, "K", "read", **more)

    readings = {
        "f.input 6.temperature": kelvin(0.010, stale=True),
        "f.input 5.temperature": kelvin(0.7),
        "f.input 2.temperature": kelvin(3.6),
        "f.input 2.name": ReadingItem("top plate", "", "read"),
        "f.input 9.temperature": kelvin(None),
        "f.setpoint": kelvin(0.001),
    }
    found = stages(readings)
    assert [stage.place for stage in found][:3] == ["top plate", "still", "mixing chamber"]
    coldest = base(readings)
    assert coldest is not None
    assert coldest.place == "still"
    assert base({}) is None


def test_channels_have_their_place_in_the_square_and_vetoes_below() -> None:
    found = places(["C11", "C12", "C21", "C22", "SI", "CWO"])
    assert found == {
        "C11": (0, 0), "C12": (0, 1), "C21": (1, 0), "C22": (1, 1), "SI": (2, 0), "CWO": (2, 1),
    }  # fmt: skip
    assert places(["A11", "B11"]) == {"A11": (0, 0), "B11": (0, 1)}  # no square: in a row


def test_units_are_known_or_missing_and_never_one() -> None:
    scales = Scales(couplings_of({"detectors": {"C": {"squid": "s:1", "input_a_per_phi0": 0.3e-6,
                                                      "feedback_a_per_phi0": 40e-6}}}))  # fmt: skip
    assert scales.known("C") == ["V"]
    scales.feedback_ohm["C"], scales.volts_per_count["C"] = 30e3, 1e-4
    assert scales.factor("C", "A") == pytest.approx(0.3e-6 / 40e-6 / 30e3)
    assert scales.factor("C", "counts") == pytest.approx(1e4)
    assert scales.factor("C", "eV") is None
    point = Point(1000.0, 500.0, 1.0)
    scales.calibration = Calibration([Curve("C", "height", 1000.0, [0.5], [[1e-6]], 0.0, [point])])
    assert scales.factor("C", "eV") == pytest.approx(1e4 / 0.5)
    assert scales.known("other") == ["V"]
    assert couplings_of({"detectors": {"C": {"feedback_ohm": "much"}}}) == {}
    assert Scales({"C": Coupling()}).factor("C", "A") is None


def test_keys_are_bound_once() -> None:
    assert len({key.key for key in KEYS}) == len(KEYS)
    assert len({key.does for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "3 s"), (600, "10 min"), (7200, "2.0 h"), (400_000, "4.6 d"), (150, "2.5 min")],
)
def test_ages_have_one_unit(seconds: float, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("current in the flux line [uA]", "current in the flux line [µA]"),
        ("density [pA/rtHz], log10", "density [pA/√Hz], log10"),
        ("R [mohm] of [uA]", "R [mΩ] of [µA]"),
        ("up to now", "up to now"),
    ],
)
def test_units_of_labels_are_as_one_reads_them(given, shown):
    assert labelled(given) == shown
