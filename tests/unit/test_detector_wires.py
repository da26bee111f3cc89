"""From a detector's names to the instruments behind it, and from the stream's clock to ours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from daq.errors import FormatError, OutOfRangeError, UsageError
from daq.readout.procedures import MOST_SWING
from daq.readout.requests import Held
from daq.services import tunefile
from daq.services.detectorwires import Command, DetectorWires
from daq.services.executor import swing_of
from daq.services.streamclock import StreamClock
from daq.services.tunefile import ChannelEntry, PlanFile, StepEntry, TuneFile
from daq.settings.detectors import Detector
from drivers import catalogue
from drivers.squid.squid_channel import squids_of


def wires(model: str, plug: str = "squids:1") -> DetectorWires:
    """Over what the driver of a model says of itself."""
    instrument = catalogue.instrument(model)("ASRLsocket://127.0.0.1:1::INSTR")
    squids = {
        str(number): {
            "values": {name: asdict(offer) for name, offer in squid.offers().items()},
            "actions": {name: squid.action(name).name for name in squid.actions},
        }
        for number, squid in squids_of(instrument).items()
    }
    listed = {"instruments": {"squids": {"squids": squids}, "fridge": {"squids": {}}}}
    return DetectorWires({"C11": Detector.model_validate({"squid": plug, "bias": "p:2"})}, listed)


@pytest.mark.parametrize(
    ("model", "name", "value", "parameter", "told"),
    [
        ("magnicon-xxf1", "bias", 21e-6, "squid 1.ib", 21.0),
        ("magnicon-xxf1", "mode", "LOCKED", "squid 1.mode", "LOCKED"),
        ("magnicon-xxf1", "tes_bias", 0.93e-6, "squid 1.tes_bias", {"current": 0.93}),
        ("magnicon-xxf1", "tes_range", 125e-6, "squid 1.tes_bias", {"range": "UA_125"}),
        ("magnicon-xxf1", "feedback", 30e3, "squid 1.feedback", 30.0),
        ("starcryo-pfl102", "offset", 1e-3, "squid 1.offset", 1.0),
        ("starcryo-pfl102", "feedback", 10e3, "squid 1.resistor", 10.0),
    ],
)
def test_si_values_become_what_the_vendors_parameter_takes_and_come_back(
    model: str, name: str, value: float | str, parameter: str, told: object
) -> None:
    wire = wires(model).wire("C11", name)
    arguments = {"instrument": "squids", "parameter": parameter}
    assert wire.read() == Command("squids", "read", arguments)
    assert wire.write(value) == Command("squids", "write", arguments | {"value": told})
    held = wire.held({"value": told, "source": "read"})
    assert held == Held(value, held.unit, "read")


def test_what_is_no_choice_or_no_number_is_refused() -> None:
    with pytest.raises(OutOfRangeError, match=r"expected one of 0\.000125, 0\.0005 A, found"):
        wires("magnicon-xxf1").wire("C11", "tes_range").write(2e-4)
    with pytest.raises(OutOfRangeError, match="expected a number, found 'x'"):
        wires("magnicon-xxf1").wire("C11", "bias").write("x")


def test_what_electronics_do_not_have_is_named_with_what_they_have() -> None:
    with pytest.raises(UsageError, match=r"C11 has no tes_bias: expected one of .*flux"):
        wires("starcryo-pfl102").wire("C11", "tes_bias")
    with pytest.raises(UsageError, match="C11 has no heat: expected one of reset_loop"):
        wires("magnicon-xxf1").action("C11", "heat")
    with pytest.raises(UsageError, match=r"expected detectors\.C11\.heater to name a generator"):
        wires("magnicon-xxf1").output("C11", "heater")
    assert wires("starcryo-pfl102").action("C11", "heat").arguments["action"] == "squid 1.heat"
    offered = wires("starcryo-pfl102").offered("C11")
    assert offered.values["bias"].source == "shadow"
    assert offered.has("initialize")


@pytest.mark.parametrize("plug", ["squids:7", "fridge:1", "nothing:1"])
def test_a_detector_that_hangs_on_nothing_is_named(plug: str) -> None:
    with pytest.raises(UsageError, match=r"detectors\.C11\.squid: expected a SQUID"):
        wires("magnicon-xxf1", plug)


# --- the stream's clock


def test_now_is_what_the_earliest_arrivals_say_also_while_the_stream_is_behind() -> None:
    clock = StreamClock(1000.0)
    assert clock.now(950, 1.0) == 950  # 50 samples late
    assert clock.now(1990, 2.0) == 1990  # hardly late
    assert clock.now(2500, 3.0) == 2990  # much later
    assert clock.now(5000, 3.0) == 5000  # what is here is past


def test_a_slow_bench_has_a_slow_clock() -> None:
    clock = StreamClock(1000.0, speed=0.1)
    assert clock.now(100, 1.0) == 100
    assert clock.now(150, 2.0) == 200


# --- the file


def entry(passed: bool, bias: float, period: float) -> ChannelEntry:
    steps = [StepEntry("v-phi", passed, {"period_a": period})]
    return ChannelEntry(passed, {"bias": bias, "mode": "LOCKED"}, steps)


def kept(home: Path, stamp: str, channel: ChannelEntry) -> Path:
    folder = home / tunefile.FOLDER / stamp
    folder.mkdir(parents=True)
    tunefile.write(folder / tunefile.PLAN, PlanFile(["C11"], ""))
    tunefile.write(folder / tunefile.TUNE, TuneFile({"C11": channel}, "", "x.toml"))
    return folder


def test_what_differs_from_the_last_good_tune_is_said(tmp_path: Path) -> None:
    kept(tmp_path, "1", entry(True, 2e-5, 4e-5))
    kept(tmp_path, "2", entry(False, 9e-5, 4e-5))
    now = {"C11": entry(True, 2.2e-5, 4e-5)}
    good = tunefile.last_good(tmp_path, kept(tmp_path, "3", now["C11"]))
    assert good["C11"] == entry(True, 2e-5, 4e-5)
    (row,) = tunefile.differences(good, now)
    assert (row.channel, row.name, row.change) == ("C11", "bias", "+10 %")


def test_only_the_latest_tuning_can_be_resumed_and_only_if_it_was_interrupted(
    tmp_path: Path,
) -> None:
    folder = kept(tmp_path, "1", entry(True, 2e-5, 4e-5))
    with pytest.raises(UsageError, match=r"expected an interrupted tuning in .*, found none"):
        tunefile.unfinished(tmp_path)
    (folder / tunefile.TUNE).unlink()
    assert tunefile.unfinished(tmp_path) == folder


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other"}', "[1]"])
def test_another_file_is_no_tune_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(FormatError, match="expected a tune file"):
        tunefile.read(path)


def test_a_tune_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = kept(tmp_path, "1", entry(True, 2e-5, 4e-5))
    assert tunefile.read(folder / tunefile.TUNE).channels["C11"] == entry(True, 2e-5, 4e-5)


def test_a_stream_that_tells_how_far_its_clock_is_ahead_is_believed() -> None:
    clock = StreamClock(1000.0, ahead_s=0.1)
    assert clock.now(1000, 1.0) == 1000
    assert clock.now(1050, 9.0) == 1050 + 200  # and what may be on the way


def test_a_pulse_among_the_samples_is_seen_and_noise_is_not() -> None:
    noise = np.random.default_rng(1).normal(0.0, 1e-3, 5000)
    assert swing_of(noise, 1e-4) < 1.0
    at = np.arange(5000) - 2000
    pulse = 0.02 * np.exp(-np.maximum(at, 0) / 1000) * (at >= 0)
    assert swing_of(noise + pulse, 1e-4) > MOST_SWING
    assert swing_of(np.full(5000, 0.3), 1e-4) == 0.0
    assert swing_of(noise[:30], 1e-4) == 0.0  # too few to tell
