"""STAR Cryo's loops: frames as published, obeyed in silence or dropped in silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_hardware.faces.starcryo import StarCryo
from sim_hardware.world.pfl import FluxLockedLoops


@pytest.fixture
def loops() -> FluxLockedLoops:
    return FluxLockedLoops()


@pytest.fixture
def interface(loops: FluxLockedLoops) -> Iterator[StarCryo]:
    face = StarCryo(loops)
    yield face
    assert face.complaints == []


def tell(face: StarCryo, frames: bytes, now_s: float = 0.0) -> None:
    """Send bytes, of which nothing comes back."""
    talk = face.connect(now_s)
    talk.receive(frames, now_s)
    assert list(talk.send(now_s)) == []


def framed(address: int, opcode: int, data: int) -> str:
    """A frame by hand: an even number of ones is made odd in the opcode."""
    digits = f"{address:02X}{opcode:02X}{data:04X}"
    ones = sum(bin(int(digit, 16)).count("1") for digit in digits)
    return digits if ones % 2 else f"{address:02X}{opcode | 0x80:02X}{data:04X}"


@pytest.mark.parametrize(
    ("frame", "word"),
    [
        (b"01500408;", 0x0408),
        (b"01D00409;", 0x0409),
        (b"01D00400;", 0x0400),
        (b"01D00800;", 0x0800),
        (b"01501800;", 0x1800),
    ],
)
def test_published_digital_frames_are_obeyed(
    interface: StarCryo, loops: FluxLockedLoops, frame: bytes, word: int
) -> None:
    tell(interface, frame)
    assert loops.word("01") == word
    assert loops.word("02") == 0


@pytest.mark.parametrize(
    ("frame", "sub", "value"),
    [
        (b"01E08000;", 0, 50e-6),
        (b"01608002;", 2, 1e-3),
        (b"01607FF4;", 4, 0.0),
    ],
)
def test_published_converter_frames_are_obeyed(
    interface: StarCryo, loops: FluxLockedLoops, frame: bytes, sub: int, value: float
) -> None:
    tell(interface, frame)
    assert loops.value("01", sub) == pytest.approx(value, rel=1e-3, abs=3e-6)


def test_lock_reset_and_tune_are_told_apart(interface: StarCryo, loops: FluxLockedLoops) -> None:
    seen = []
    for frame in (b"01500408;", b"01D00409;", b"01500408;", b"01D00800;"):
        tell(interface, frame)
        seen.append(loops.locked("01"))
    assert seen == [True, False, True, False]


@pytest.mark.parametrize(
    ("bits", "ohm", "farad"),
    [(0x0000, 100e3, 1.5e-9), (0x0104, 10e3, 15e-9), (0x0202, 1e3, 150e-9)],
)
def test_the_three_sensitivities(
    interface: StarCryo, loops: FluxLockedLoops, bits: int, ohm: float, farad: float
) -> None:
    tell(interface, f"{framed(3, 0x50, 0x0400 | bits)};".encode())
    assert (loops.feedback_ohm("03"), loops.integrator_f("03")) == (ohm, farad)


def test_a_heated_squid_is_warm_for_ten_seconds(
    interface: StarCryo, loops: FluxLockedLoops
) -> None:
    assert not loops.warm("01", 0.0)
    tell(interface, b"01501800;", 5.0)
    tell(interface, b"01D00800;", 5.1)
    assert loops.warm("01", 14.9)
    assert not loops.warm("01", 15.1)


def test_frames_come_in_any_pieces(interface: StarCryo, loops: FluxLockedLoops) -> None:
    talk = interface.connect(0.0)
    for byte in b"01500408;01E08000;":
        talk.receive(bytes([byte]), 0.0)
    assert list(talk.send(0.0)) == []
    assert loops.locked("01")
    assert loops.value("01", 0) == pytest.approx(50e-6, rel=1e-3)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b"01D00408;", "expected odd parity"),
        (b"0150040;", "expected a frame of eight digits"),
        (b"\r\n01500408;", "expected a frame of eight digits"),
        (b"0150040g;", "expected a frame of eight digits"),
        (b"\xff1500408;", "expected a frame of eight digits"),
        (f"{framed(9, 0x50, 0x0400)};".encode(), "expected an address from 01 to 08, found 09"),
        (f"{framed(0, 0x50, 0x0400)};".encode(), "expected an address from 01 to 08, found 00"),
        (f"{framed(1, 0x40, 0x0400)};".encode(), "expected opcode 50 or 60"),
        (f"{framed(1, 0x60, 0x8005)};".encode(), "expected a converter from 0 to 4, found 5"),
        (f"{framed(1, 0x50, 0x2400)};".encode(), "expected a digital word, found 2400"),
        (f"{framed(1, 0x50, 0x0406)};".encode(), "expected a digital word, found 0406"),
        (f"{framed(1, 0x50, 0x0700)};".encode(), "expected a digital word, found 0700"),
    ],
)
def test_what_is_no_good_frame_is_dropped_in_silence(frame: bytes, said: str) -> None:
    loops = FluxLockedLoops()
    face = StarCryo(loops)
    tell(face, b"01500408;" + frame)
    (complaint,) = face.complaints
    assert said in complaint
    assert loops.word("01") == 0x0408


@given(st.integers(0, 2**32 - 1))
def test_one_flipped_bit_is_never_obeyed(bits: int) -> None:
    loops, good = FluxLockedLoops(), int(framed(1, 0x50, 0x0408), 16)
    tell(StarCryo(loops), f"{good ^ (1 << bits % 32):08X};".encode())
    assert loops.word("01") == 0
