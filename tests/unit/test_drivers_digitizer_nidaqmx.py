"""NI-DAQmx, against a stand-in of its Python package: samples, overflows, refusals."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from pydantic import ValidationError

from daq.errors import (
    NotConnectedError,
    ReplyError,
    SilentError,
    UsageError,
    WrongInstrumentError,
)
from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers import catalogue
from drivers.digitizer.nidaqmx import OVERFLOWS, NidaqmxDigitizer
from drivers.digitizer.settings import DigitizerSettings
from drivers.services.reader import Reader
from drivers.settings import Digitizers
from tests.digitizer_server import values
from tests.standins import nidaqmx_standin
from tests.standins.nidaqmx_standin import AcquisitionType, NiCard, TerminalConfiguration

WAIT_S = 5.0
T0_NS = 1_789_000_000_000_000_000
SECTION = {"model": "nidaqmx", "resource": "Dev1", "channels": [0, 3], "rate_hz": 10_000.0}


class Time:
    """One time for all: the driver's pauses move it, and the card converts as it goes by."""

    def __init__(self, card):
        self.s, self.card, self.converts = 0.0, card, False

    def monotonic(self):
        return self.s

    def now_ns(self):
        return T0_NS + round(self.s * 1e9)

    def pass_by(self, seconds):
        self.s += seconds
        if self.converts:
            self.card.task.produce(round(seconds * 10_000))


@pytest.fixture
def card(monkeypatch):
    card = NiCard()
    nidaqmx_standin.install(monkeypatch, card)
    return card


@pytest.fixture
def time(card):
    return Time(card)


def settings(**changes):
    return Digitizers.model_validate({"d": {**SECTION, **changes}}).root["d"]


@pytest.fixture
def make(card, time, request):
    def made(**changes):
        chosen = settings(**changes)
        digitizer = NidaqmxDigitizer(
            "d", chosen.resource, chosen,
            clock=time.monotonic, pause=time.pass_by, now_ns=time.now_ns,
        )  # fmt: skip
        request.addfinalizer(digitizer.close)
        return digitizer

    return made


@pytest.fixture
def digitizer(make):
    digitizer = make()
    digitizer.connect()
    digitizer.start(0)
    return digitizer


def test_the_task_is_what_the_section_says(card, make):
    card.rate_hz = 9_999.5  # what its divider can make
    facts = make(range_v=5.0, terminal="rse", clock_source="/Dev1/PFI0").connect()
    task = card.task
    assert task.ai_channels.added == [
        ("ai0", TerminalConfiguration.RSE, -5.0, 5.0),
        ("ai3", TerminalConfiguration.RSE, -5.0, 5.0),
    ]
    assert (task.timing.rate, task.timing.source) == (10_000.0, "/Dev1/PFI0")
    assert task.timing.sample_mode is AcquisitionType.CONTINUOUS
    assert task.in_stream.input_buf_size == 40_000
    assert task.is_started
    assert (facts.name, facts.channels, facts.rate_hz) == ("d", ("ai0", "ai3"), 9_999.5)
    assert (facts.volts_per_count, facts.can_wait) == (3.2e-4, False)
    assert (facts.oldest, facts.next, facts.anchor) == (0, 0, Anchor(0, T0_NS))


def test_samples_come_as_contiguous_rows(card, digitizer):
    card.task.produce(250)
    first = digitizer.read(0.1)
    card.task.produce(100)
    second = digitizer.read(0.1)
    assert (first.start, first.stop, second.start, second.stop) == (0, 250, 250, 350)
    np.testing.assert_array_equal(first.samples, values(0, 250, 2))
    np.testing.assert_array_equal(second.samples, values(250, 350, 2))
    assert first.samples.dtype == np.int16
    assert first.samples.flags.c_contiguous
    assert not first.samples.flags.writeable


def test_a_piece_is_waited_for_and_a_crumb_is_taken_at_the_deadline(card, time, digitizer):
    time.converts = True
    assert digitizer.read(0.1).stop == 100  # 10 ms
    time.converts = False
    card.task.produce(3)
    assert digitizer.read(0.1).stop == 103
    with pytest.raises(SilentError, match="Dev1 sends nothing"):
        digitizer.read(0.1)


def test_an_estimated_anchor_comes_every_second(card, time, digitizer):
    time.converts = True
    events = [digitizer.read(0.1) for _ in range(250)]
    anchors = [event for event in events if isinstance(event, Anchor)]
    assert [anchor.sample for anchor in anchors] == [10_000, 20_000]
    for anchor in anchors:  # the time stands still while samples are taken
        assert anchor.t_ns == T0_NS + anchor.sample * 100_000


@pytest.mark.parametrize("code", OVERFLOWS)
def test_an_overflow_is_an_estimated_gap_and_a_new_stream(card, time, make, code):
    digitizer = make()
    first = digitizer.connect()
    card.task.produce(500)
    digitizer.read(0.1)
    time.pass_by(0.2)
    card.task.fail(code)
    assert digitizer.read(0.1) == Gap(500, 2000, exact=False, cause="overflow")
    with pytest.raises(NotConnectedError, match=rf"{OVERFLOWS[code]} \(NI-DAQmx {code}\)"):
        digitizer.read(0.1)
    digitizer.close()
    assert card.task.is_closed
    assert digitizer.connect().stream != first.stream
    card.task.produce(100)
    samples = digitizer.read(0.1)
    assert (samples.start, samples.stop) == (0, 100)
    assert len(card.tasks) == 2


def test_a_reader_that_sleeps_overflows_the_buffer(card, digitizer):
    card.task.produce(40_001)
    assert digitizer.read(0.1).exact is False


def test_any_other_error_of_the_driver_ends_the_stream_too(card, digitizer):
    card.task.fail(-201003)
    assert digitizer.read(0.1) == Gap(0, 1, exact=False, cause="device")
    with pytest.raises(NotConnectedError, match=r"task on Dev1 failed: The application .* -201003"):
        digitizer.read(0.1)


def test_samples_that_are_not_there_after_all_are_silence(card, digitizer, monkeypatch):
    monkeypatch.setattr(NidaqmxDigitizer, "_waiting", lambda self: 10)
    with pytest.raises(SilentError, match="Dev1 sends nothing"):
        digitizer.read(0.1)


def test_a_read_of_another_length_is_refused(card, digitizer, monkeypatch):
    card.task.produce(100)
    monkeypatch.setattr(digitizer._reader, "read_int16", lambda *_, **__: 7)
    with pytest.raises(ReplyError, match="expected 100 samples from Dev1, found 7"):
        digitizer.read(0.1)


def test_a_task_is_closed_even_where_it_cannot_be_built(card, make):
    digitizer = make(resource="Dev2")
    with pytest.raises(NotConnectedError, match=r"Dev2 failed: Device identifier is invalid"):
        digitizer.connect()
    assert card.task.is_closed


def test_a_closed_digitizer_says_so(make):
    with pytest.raises(NotConnectedError, match="the task on Dev1 is closed"):
        make().read(0.1)


def test_another_product_is_refused(make):
    with pytest.raises(WrongInstrumentError, match=r"a USB-6356 at Dev1, found a PXIe-6358"):
        make(device="USB-6356").connect()
    assert make(device="PXIe-6358").connect().name == "d"


def test_a_scaling_that_is_none_is_refused(card, make):
    card.scaling = [0.0]
    with pytest.raises(ReplyError, match=r"scaling with a positive slope from Dev1, found \[0.0\]"):
        make().connect()


def test_a_missing_package_is_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "nidaqmx", None)
    with pytest.raises(
        NotConnectedError, match=r"pip install nidaqmx, and install the driver NI-DAQmx"
    ):
        make().connect()


def test_a_missing_driver_is_named(card, make):
    card.is_driver_there = False
    for changes in ({}, {"device": "PXIe-6358"}):
        with pytest.raises(NotConnectedError, match=r"nidaqmx finds no driver: install the driver"):
            make(**changes).connect()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resource": "Dev1/ai0"}, "expected the name of a device such as PXI1Slot2, found"),
        ({"channels": []}, "at least 1 item"),
        ({"channels": [1, 1]}, "expected each input once, found 1 twice"),
        ({"channels": [True]}, "valid integer"),
        ({"channels": "0:3"}, "valid list"),
        ({"rate_hz": 0.0}, "greater than or equal to 1"),
        ({"rate_hz": "1e4"}, "valid number"),
        ({"range_v": 0.0}, "greater than 0"),
        ({"terminal": "diff"}, "'default', 'differential'"),
        ({"memory_s": 0.01}, "greater than or equal to 0.1"),
        ({"coupling": "AC"}, "Extra inputs are not permitted"),
    ],
)
def test_a_section_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_the_model_is_in_the_catalogue_and_made_from_its_section():
    driver = catalogue.digitizer("nidaqmx")
    assert driver is NidaqmxDigitizer
    assert isinstance(driver.from_settings("d", settings()), NidaqmxDigitizer)
    with pytest.raises(UsageError, match="expected NidaqmxSettings, found DigitizerSettings"):
        driver.from_settings("d", DigitizerSettings(model="x", resource="Dev1"))


def test_the_standin_has_the_arguments_of_the_package():
    """Runs where the package is installed; without its driver it can be looked at, not used."""
    real = pytest.importorskip("nidaqmx", reason="nidaqmx is an extra")
    from inspect import signature

    from nidaqmx.stream_readers import AnalogUnscaledReader
    from nidaqmx.task.collections import AIChannelCollection

    for ours, theirs in (
        (nidaqmx_standin.Task, real.Task),
        (nidaqmx_standin.AnalogUnscaledReader.read_int16, AnalogUnscaledReader.read_int16),
        (nidaqmx_standin._Channels.add_ai_voltage_chan, AIChannelCollection.add_ai_voltage_chan),
    ):
        assert list(signature(ours).parameters) == list(signature(theirs).parameters)


def test_the_service_s_reader_goes_on_with_a_new_stream_after_an_overflow(card, make):
    reader = Reader(make(), lambda: None, silent_after_s=30.0)
    reader.start()
    try:
        first = reader.items.get(timeout=WAIT_S)
        card.task.produce(500)
        packet = reader.items.get(timeout=WAIT_S)
        card.task.fail(-200361)
        gap, trouble, second = (reader.items.get(timeout=WAIT_S) for _ in range(3))
    finally:
        reader.stop()
        reader.join(WAIT_S)
    assert (packet.start, packet.stop) == (0, 500)
    assert (gap.start, gap.exact, gap.cause) == (500, False, "overflow")
    assert "onboard memory overflow" in str(trouble.error)
    assert second.facts.stream != first.facts.stream
    assert all(task.is_closed for task in card.tasks)
