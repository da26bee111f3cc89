"""Where a simulated signal, its truth or a conversation is cut makes no difference."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_hardware.face import TextConversation, TextFace
from sim_hardware.faces.lakeshore372 import Lakeshore372
from sim_hardware.faces.magnicon_xxf1 import MagniconXxf1
from sim_hardware.origins import origins
from sim_hardware.settings import BenchSources
from sim_hardware.world.array import DetectorArray
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.digitizer import DetectorSignals, inputs
from sim_hardware.world.gate import BeamGate
from sim_hardware.world.particles import Deposit, Particles, Rng
from sim_hardware.world.squid import SquidElectronics

RATE_HZ = 20e3
SECOND = round(RATE_HZ)
KINDS = {"C11": "silicon", "C12": "silicon", "SI": "silicon", "CWO": "cwo", "GATE": "gate"}
# open for samples, and often, so that cuts go through openings
LEVELS = {"GATE": BeamGate(rate_hz=500.0, width_s=0.4e-3, phase_s=1e-5)}


@cache
def truth() -> Particles:
    """Much of everything, so that pulses lie in and across most blocks."""
    array = DetectorArray(masses_g={"C11": 0.75, "C12": 0.75}, silicon=("SI",), cwo=("CWO",))
    sources = BenchSources(
        cevns_multiplier=1e7,
        excess_per_kg_kev_d=1e11,
        flat_per_kg_kev_d=1e7,
        muon_target_rate_hz=5.0,
        gamma_rate_hz=50.0,
        neutron_rate_hz=5.0,
        iron55_rate_hz=5.0,
        beam_nu_rate_hz=5.0,
    )
    return Particles(7, origins(sources, array))


@cache
def source() -> DetectorSignals:
    clock = SampleClock(RATE_HZ, ppm=25.0, start_ns=0)
    made = inputs("all", KINDS, seed=7, rate_hz=RATE_HZ)
    return DetectorSignals("all", made, truth(), clock, LEVELS)


starts = st.one_of(
    st.integers(0, 3 * SECOND),
    # where the first pool of noise begins anew, and far into the night
    st.integers(5 * SECOND - 500, 5 * SECOND),
    st.integers(10**9, 10**9 + SECOND),
)


@settings(deadline=None, max_examples=60)
@given(starts, st.lists(st.integers(0, 3000), max_size=6), st.integers(0, 3000))
def test_where_samples_are_cut_makes_no_difference(
    start: int, cuts: list[int], length: int
) -> None:
    edges = [start, *sorted(start + cut for cut in cuts if cut < length), start + length]
    pieces = [source().samples(a, b) for a, b in pairwise(edges)]
    whole = source().samples(start, start + length)
    assert whole.shape == (5, length)
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)


def test_short_cuts_of_a_long_stretch_agree_to_the_last_bit() -> None:
    whole = source().samples(0, 10 * SECOND)
    edges = [*range(0, 10 * SECOND, 997), 10 * SECOND]
    pieces = [source().samples(a, b) for a, b in pairwise(edges)]
    # a million samples, since a last bit of float32 shows in one of ten thousand counts
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)


def test_a_stretch_can_be_had_again_and_alone() -> None:
    again = source().samples(40_000, 50_000)
    clock = SampleClock(RATE_HZ, ppm=25.0, start_ns=0)
    made_anew = DetectorSignals(
        "all", inputs("all", KINDS, seed=7, rate_hz=RATE_HZ), truth(), clock, LEVELS
    )
    assert np.array_equal(made_anew.samples(40_000, 50_000), again)


def test_another_seed_gives_other_samples() -> None:
    clock = SampleClock(RATE_HZ, ppm=25.0, start_ns=0)
    other = DetectorSignals("all", inputs("all", KINDS, seed=8, rate_hz=RATE_HZ), truth(), clock)
    same = other.samples(0, 10_000) == source().samples(0, 10_000)
    # noise of a few counts rms agrees by chance; offsets alone would not in this many rows
    assert same.mean() < 0.5


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 8), min_size=1, max_size=5))
def test_where_the_truth_is_cut_makes_no_difference(cuts: list[float]) -> None:
    edges = [0.0, *sorted(cuts), 8.0]
    pieces = [hit for a, b in pairwise(edges) for hit in truth().truth(a, b)]
    assert pieces == truth().truth(0.0, 8.0)


def test_a_hit_later_than_its_second_is_found() -> None:
    late = Particles(1, [_Late()])
    pieces = [hit for k in range(20) for hit in late.truth(k, k + 1)]
    assert pieces == late.truth(0, 20)
    assert any(hit.true_s % 1 < hit.energy_ev for hit in pieces)  # some did come a second later


class _Late:
    """Its deposits come up to a second after what they are of."""

    kind, rate_hz = "late", 5.0

    def deposits(self, rng: Rng, true_s: float) -> list[Deposit]:
        delay_s = 0.9 * rng.random()
        return [Deposit(delay_s, "C11", delay_s)]


@given(st.integers(0, 10**15), st.integers(1, 10**9), st.floats(-1000, 1000))
def test_time_goes_forward(sample: int, more: int, ppm: float) -> None:
    clock = SampleClock(2e6, ppm=ppm, start_ns=10**18)
    assert clock.t_ns(sample + more) > clock.t_ns(sample) >= 10**18


TALK = b"*IDN?\r\nKRDG? 6;*ESR?\nSETP 0,0.012\n\nPID? 0;:RANGE? 0\nNO?\n*ESR?\nRDGST? 6\n"


@given(st.lists(st.integers(0, len(TALK)), max_size=10))
def test_where_a_client_s_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TALK)]
    pieces = [TALK[a:b] for a, b in pairwise(edges)]
    assert _replies(pieces) == _replies([TALK])


def _replies(pieces: list[bytes]) -> bytes:
    conversation = TextConversation(Lakeshore372(Cryostat(1)))
    for piece in pieces:
        conversation.receive(piece, 10.0)
    return b"".join(bytes(reply) for reply in conversation.send(10.0))


WORDS = [b"*IDN?", b"SETP", b"INNAME", b"INSET", b"SCAN", b"RDGR?", b"FILTER", b"6", b"0", b"A"]
WORDS += [b",", b" ", b";", b'"', b"1e9", b"\n", b"\r", b"<01b8", b"<01q0", b"37", b"\xff", b"?"]


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=6)), max_size=40))
def test_no_bytes_upset_an_instrument(pieces: list[bytes]) -> None:
    faces: list[TextFace] = [Lakeshore372(Cryostat(1)), MagniconXxf1(SquidElectronics())]
    for face in faces:
        conversation = TextConversation(face)
        for number, piece in enumerate(pieces):
            conversation.receive(piece, number * 0.1)
        assert all(bytes(reply).isascii() for reply in conversation.send(10.0))
