"""Spectrum's FIFO mode, against a stand-in of its Python package: the ring, overruns, refusals."""

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
from drivers.digitizer.settings import DigitizerSettings
from drivers.digitizer.spectrum import SpectrumDigitizer
from drivers.settings import Digitizers
from tests.digitizer_server import values
from tests.standins import spcm_standin
from tests.standins.spcm_standin import SpectrumBoard

T0_NS = 1_789_000_000_000_000_000
SECTION = {
    "model": "spectrum",
    "resource": "/dev/spcm0",
    "channels": [0, 2],
    "rate_hz": 100_000.0,
    "memory_s": 0.1,
}
NOTIFY, RING = 1024, 10 * 1024  # samples: 10 ms and 100 ms in whole pages of 4096 bytes


@pytest.fixture
def board(monkeypatch):
    board = SpectrumBoard()
    spcm_standin.install(monkeypatch, board)
    return board


def settings(**changes):
    return Digitizers.model_validate({"d": {**SECTION, **changes}}).root["d"]


class Now:
    ns = T0_NS

    def __call__(self):
        return self.ns


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def make(board, now, request):
    def made(**changes):
        chosen = settings(**changes)
        digitizer = SpectrumDigitizer("d", chosen.resource, chosen, now_ns=now)
        request.addfinalizer(digitizer.close)
        return digitizer

    return made


@pytest.fixture
def digitizer(make):
    digitizer = make()
    digitizer.connect()
    digitizer.start(0)
    return digitizer


def test_the_card_is_set_as_the_section_says(board, make):
    board.rate_hz = 99_000
    facts = make(range_v=0.5, termination="50 ohm").connect()
    assert board.registers.items() >= {
        9500: 0x10, 10020: 0, 10030: 16, 20200: 1, 40410: 1, 40430: 0,
        11000: 0b101, 20000: 100_000, 30010: 500, 30210: 500, 30030: 1, 30230: 1,
    }.items()  # fmt: skip
    assert board.commands[-2:] == [0x10000, 0x4 | 0x8]  # the transfer first, then the trigger
    assert (board.notify, len(board.flat) // 2) == (NOTIFY, RING)
    assert (facts.channels, facts.rate_hz) == (("ch0", "ch2"), 99_000.0)
    assert facts.volts_per_count == pytest.approx(0.5 / 32767)
    assert (facts.oldest, facts.next, facts.can_wait) == (0, 0, False)
    assert facts.anchor == Anchor(0, T0_NS)


def test_interleaved_samples_come_as_contiguous_rows(board, digitizer):
    board.produce(2 * NOTIFY + 5)
    packet = digitizer.read(0.1)
    assert (packet.start, packet.stop) == (0, 2 * NOTIFY)
    np.testing.assert_array_equal(packet.samples, values(0, 2 * NOTIFY, 2))
    assert packet.samples.flags.c_contiguous
    assert not packet.samples.flags.writeable
    assert board.flat[:4].tolist() == [0, 1000, 7, 1007]  # as it lies in the ring


def test_the_ring_goes_round_without_a_seam(board, digitizer):
    at, pieces = 0, []
    for _ in range(30):
        board.produce(3 * NOTIFY)
        while at + NOTIFY <= board.converted:
            packet = digitizer.read(0.1)
            assert packet.start == at
            at = packet.stop
            pieces.append(packet.samples)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), values(0, at, 2))
    assert at == 90 * NOTIFY > 8 * RING


def test_what_was_handed_out_does_not_change_when_the_card_writes_there_again(board, digitizer):
    board.produce(RING)
    packet = digitizer.read(0.1)
    board.produce(RING)
    np.testing.assert_array_equal(packet.samples, values(0, RING, 2))


def test_a_timeout_while_waiting_is_silence_and_no_error(board, digitizer):
    for _ in range(2):
        with pytest.raises(SilentError, match="/dev/spcm0 sends nothing"):
            digitizer.read(0.1)
    assert board.registers[295130] == 100
    board.produce(NOTIFY)
    assert digitizer.read(0.1).stop == NOTIFY


def test_the_driver_is_never_told_to_wait_for_ever(board, digitizer):
    with pytest.raises(SilentError):
        digitizer.read(0.0)
    assert board.registers[295130] == 1


def test_an_overrun_is_an_estimated_gap_and_a_new_stream(board, now, make):
    digitizer = make()
    first = digitizer.connect()
    board.produce(NOTIFY)
    digitizer.read(0.1)
    now.ns += 400_000_000
    board.produce(RING + board.own_memory + 1)
    assert digitizer.read(0.1) == Gap(NOTIFY, 40_000, exact=False, cause="overflow")
    with pytest.raises(NotConnectedError, match=r"does not keep up.*FIFO HW overrun"):
        digitizer.read(0.1)
    digitizer.close()
    assert board.n_open == 0
    assert digitizer.connect().stream != first.stream
    board.produce(NOTIFY)
    assert digitizer.read(0.1).start == 0
    assert board.n_opened == 2


def test_any_other_error_ends_the_stream_too(board, digitizer):
    board.failure = "Kernel error"
    assert digitizer.read(0.1) == Gap(0, 1, exact=False, cause="device")
    with pytest.raises(NotConnectedError, match="the card /dev/spcm0 failed: Kernel error"):
        digitizer.read(0.1)


def test_an_anchor_comes_every_second(board, now, digitizer):
    events = []
    for _ in range(150):
        board.produce(NOTIFY)
        now.ns += NOTIFY * 10_000
        events.append(digitizer.read(0.1))
    (anchor,) = (event for event in events if isinstance(event, Anchor))
    assert anchor.sample == 98 * NOTIFY
    assert anchor.t_ns == T0_NS + anchor.sample * 10_000


def test_a_card_that_is_not_there_is_not_connected(board, make):
    with pytest.raises(NotConnectedError, match="/dev/spcm1 cannot be used: /dev/spcm1 not found"):
        make(resource="/dev/spcm1").connect()
    assert board.n_open == 0


def test_another_card_is_refused(make):
    with pytest.raises(WrongInstrumentError, match=r"a M4i.4421-x8 at /dev/spcm0, found a M2p"):
        make(device="M4i.4421-x8").connect()


def test_samples_of_one_byte_are_refused(board, make, monkeypatch):
    monkeypatch.setattr(board, "plug", lambda: None)
    board.registers[1120] = 1
    with pytest.raises(ReplyError, match="expected samples of 2 bytes at /dev/spcm0, found 1"):
        make().connect()


def test_a_closed_digitizer_says_so(make):
    with pytest.raises(NotConnectedError, match="the card /dev/spcm0 is closed"):
        make().read(0.1)


def test_a_missing_package_is_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "spcm", None)
    with pytest.raises(NotConnectedError, match=r"pip install spcm, and install the driver spcm4"):
        make().connect()


def test_a_missing_driver_which_the_package_raises_at_import_is_named(make, monkeypatch, tmp_path):
    (tmp_path / "spcm.py").write_text(f"raise Exception({spcm_standin.NO_DRIVER!r})\n")
    monkeypatch.delitem(sys.modules, "spcm")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NotConnectedError, match=r"spcm finds no driver: install the driver spcm4"):
        make().connect()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resource": "spcm0"}, "expected /dev/spcmN or TCPIP::HOST::inst0::INSTR of a card"),
        ({"channels": [0, 1, 2]}, "expected 1, 2, 4, 8 or 16 inputs, found 3"),
        ({"channels": [2, 0]}, r"from 0 to 15 in rising order, found \[2, 0\]"),
        ({"channels": [0, 16]}, r"from 0 to 15 in rising order, found \[0, 16\]"),
        ({"channels": [1, 1]}, "expected each input once, found 1 twice"),
        ({"rate_hz": 1.0}, "greater than or equal to 1000"),
        ({"range_v": 0.01}, "greater than or equal to 0.05"),
        ({"termination": 50}, "'1 Mohm' or '50 ohm'"),
        ({"terminal": "rse"}, "Extra inputs are not permitted"),
    ],
)
def test_a_section_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_the_model_is_in_the_catalogue_and_made_from_its_section():
    driver = catalogue.digitizer("spectrum")
    assert isinstance(driver.from_settings("d", settings()), SpectrumDigitizer)
    with pytest.raises(UsageError, match="expected SpectrumSettings, found DigitizerSettings"):
        driver.from_settings("d", DigitizerSettings(model="x", resource="y"))
