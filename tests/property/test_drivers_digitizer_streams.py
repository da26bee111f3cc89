"""Whatever sizes come in, the samples that leave are contiguous, or what is missing is named."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.errors import NotConnectedError, SilentError
from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers.digitizer.digitizer import Samples
from drivers.digitizer.nidaqmx import NidaqmxDigitizer
from drivers.digitizer.redpitaya import RedpitayaDigitizer
from drivers.digitizer.spectrum import SpectrumDigitizer
from drivers.settings import Digitizers
from tests.digitizer_server import values
from tests.standins import nidaqmx_standin, redpitaya_server, spcm_standin

T0_NS = 1_789_000_000_000_000_000
RATE_HZ = 100_000.0
MODELS = {
    "nidaqmx": {"resource": "Dev1", "memory_s": 0.1},
    "spectrum": {"resource": "/dev/spcm0", "memory_s": 0.1},
    "redpitaya": {"resource": "tcp://127.0.0.1:18900"},
}
steps = st.lists(st.tuples(st.integers(0, 15_000), st.integers(0, 4)), max_size=20)


def section(model):
    given_ = {"model": model, "channels": [0, 1], "rate_hz": RATE_HZ, **MODELS[model]}
    return Digitizers.model_validate({"d": given_}).root["d"]


def events_of(digitizer):
    """Everything that is there, and whether the stream is over."""
    events = []
    while True:
        try:
            events.append(digitizer.read(0.0))
        except SilentError:
            return events, False
        except NotConnectedError:
            return events, True


def check_contiguous(events):
    """Samples are those of their numbers, and follow on what came before; where they end."""
    at = 0
    for event in events:
        if isinstance(event, Samples):
            assert event.start == at
            np.testing.assert_array_equal(event.samples, values(at, event.stop, 2))
        elif isinstance(event, Gap):
            assert event.start == at < event.stop
        elif isinstance(event, Anchor):
            assert event.sample == at
            continue
        at = event.stop
    return at


class World:
    """A card that converts while its driver reads now and then; all by the same clock."""

    def __init__(self, produce):
        self._produce = produce
        self.n_samples = 0

    def now_ns(self):
        return T0_NS + round(self.n_samples / RATE_HZ * 1e9)

    def convert(self, n_samples):
        self.n_samples += n_samples
        self._produce(n_samples)


def play(digitizer, world, converted, reads):
    """The events of one stream, until it ends or the steps do."""
    events, is_over = [], False
    for n_samples, n_reads in zip(converted, reads, strict=True):
        world.convert(n_samples)
        for _ in range(n_reads if not is_over else 0):
            new, is_over = events_of(digitizer)
            events += new
    new, is_over = events_of(digitizer) if not is_over else ([], True)
    return [*events, *new], is_over


@settings(max_examples=60, deadline=None)
@given(steps)
def test_nidaqmx(plan):
    with pytest.MonkeyPatch.context() as patch:
        card = nidaqmx_standin.NiCard()
        nidaqmx_standin.install(patch, card)
        world, chosen = World(lambda n: card.task.produce(n)), section("nidaqmx")
        digitizer = NidaqmxDigitizer(
            "d", chosen.resource, chosen, clock=lambda: 0.0, now_ns=world.now_ns
        )
        digitizer.connect()
        events, is_over = play(digitizer, world, *_split(plan))
        check_end(check_contiguous(events), world, events, is_over, unread=0)
        assert is_over == (card.task.failure is not None)
        digitizer.close()
        assert card.task.is_closed


@settings(max_examples=60, deadline=None)
@given(steps)
def test_spectrum(plan):
    with pytest.MonkeyPatch.context() as patch:
        board = spcm_standin.SpectrumBoard()
        spcm_standin.install(patch, board)
        world, chosen = World(board.produce), section("spectrum")
        digitizer = SpectrumDigitizer("d", chosen.resource, chosen, now_ns=world.now_ns)
        digitizer.connect()
        events, is_over = play(digitizer, world, *_split(plan))
        check_end(check_contiguous(events), world, events, is_over, unread=board.notify - 1)
        assert is_over == bool(board.failure)
        digitizer.close()
        assert board.n_open == 0


def check_end(stop, world, events, is_over, unread):
    """Nothing vanishes: to the last sample, and to the present where the stream broke off."""
    if is_over:
        assert isinstance(events[-1], Gap)
        assert not events[-1].exact
        assert stop <= world.n_samples  # it broke before the last conversions
        assert stop > 0
    else:
        assert world.n_samples - unread <= stop <= world.n_samples
        assert not any(isinstance(event, Gap) for event in events)


def _split(plan):
    return [step[0] for step in plan], [step[1] for step in plan]


class OverAPair(RedpitayaDigitizer):
    """Its connection is one end of a pair."""

    connection: socket.socket

    def _connected(self) -> socket.socket:
        return self.connection


packs = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 90), st.sampled_from([0, 0, 0, 1, 2])),
    min_size=1,
    max_size=15,
)


@settings(max_examples=60, deadline=None)
@given(packs, st.lists(st.integers(1, 300), min_size=1), st.sampled_from([56, 57, 64, 128]))
def test_redpitaya(plan, cuts, header):
    sent, stop = _played(plan, header)
    chosen = section("redpitaya")
    ours, theirs = socket.socketpair()
    digitizer = OverAPair("d", chosen.resource, chosen, now_ns=lambda: T0_NS)
    digitizer.connection = theirs
    with ours:
        first = len(redpitaya_server.pack(0, 0, plan[0][0], header=header) + redpitaya_server.ID)
        ours.sendall(sent[:first])
        digitizer.connect()
        events, at = events_of(digitizer)[0], first
        for cut in [*cuts, len(sent)]:
            ours.sendall(sent[at : at + cut])
            at += cut
            events += events_of(digitizer)[0]
        assert check_contiguous(events) == stop
        digitizer.close()


def _played(plan, header):
    """Packs of any length with losses before them and packs missing; where the last one ends."""
    sent, at, number = b"", 0, 0
    for step, (length, lost, n_missing) in enumerate(plan):
        if step:  # what is missing before the first one is nobody's
            at += lost + n_missing * length
            number += 1 + n_missing
        sent += redpitaya_server.pack(number, at, at + length, lost=lost, header=header)
        at += length
    return sent + redpitaya_server.ID, at
