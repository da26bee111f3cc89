"""Frames: what is whole is found, what is not is named, whatever the bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.store.frames import MAGIC, Damage, Frame, Kind, encode, file_key, scan

KEY = file_key(7, 1)
PAYLOADS = [b"", b"x", b"12345678", bytes(range(256)), MAGIC * 9]


def written(payloads: list[bytes], key: int = KEY) -> bytes:
    frames = (encode(Kind.INPUT, seq, key, [payload]) for seq, payload in enumerate(payloads))
    return b"".join(bytes(piece) for frame in frames for piece in frame)


def found(content: bytes, key: int = KEY) -> tuple[list[bytes], list[Damage]]:
    items = list(scan(content, key))
    frames = [bytes(item.payload) for item in items if isinstance(item, Frame)]
    return frames, [item for item in items if isinstance(item, Damage)]


def test_what_was_written_is_read() -> None:
    assert found(written(PAYLOADS)) == (PAYLOADS, [])


def test_frames_are_aligned_and_zeros_behind_them_are_room() -> None:
    content = written(PAYLOADS)
    assert len(content) % 8 == 0
    assert found(content + bytes(4096)) == (PAYLOADS, [])


@pytest.mark.parametrize("at", range(0, len(written(PAYLOADS)), 3))
def test_a_flipped_bit_costs_its_frame_and_is_reported(at: int) -> None:
    content = bytearray(written(PAYLOADS))
    content[at] ^= 1 << at % 8
    frames, damages = found(bytes(content))
    assert damages
    assert len(frames) == len(PAYLOADS) - 1
    assert [payload for payload in PAYLOADS if payload in frames] == frames


def test_a_frame_of_another_file_is_refused() -> None:
    frames, (damage,) = found(written([b"x"], file_key(7, 2)))
    assert frames == []
    assert "another file or run" in str(damage)


def test_a_damaged_payload_is_left_out_up_to_the_end_its_header_tells() -> None:
    inner = written([b"stranger"])
    content = bytearray(written([inner + b"tail", b"after"]))
    content[32 + len(inner)] ^= 1
    frames, (damage,) = found(bytes(content))
    assert frames == [b"after"]
    assert "INPUT frame 0 has a wrong checksum" in str(damage)


def test_a_cut_frame_says_what_is_missing() -> None:
    _, (damage,) = found(written([bytes(100)])[:-50])
    assert "INPUT frame 0 is cut off, expected 136 bytes" in str(damage)
    _, (damage,) = found(written([b""])[:20])
    assert "expected a header of 32 bytes, found 20 bytes" in str(damage)


def test_an_unknown_kind_is_refused() -> None:
    content = b"".join(bytes(p) for p in encode(99, 0, KEY, [b""]))  # type: ignore[arg-type]
    frames, (damage,) = found(content)
    assert frames == []
    assert "an unknown kind (99, 0 bytes)" in str(damage)


@given(st.binary(max_size=400), st.lists(st.sampled_from(PAYLOADS), max_size=3))
def test_any_bytes_between_frames_are_named_and_cost_no_frame(
    noise: bytes, payloads: list[bytes]
) -> None:
    content = written(PAYLOADS) + noise + bytes(-len(noise) % 8) + written(payloads)
    frames, damages = found(content)
    assert frames == PAYLOADS + payloads
    assert bool(damages) == (any(noise) or (bool(noise) and bool(payloads)))


def test_much_room_is_told_from_damage_quickly() -> None:
    content = bytearray(1 << 24)
    content[: len(written(PAYLOADS))] = written(PAYLOADS)
    content[-1] = 1
    frames, (damage,) = found(bytes(content))
    assert frames == PAYLOADS
    assert damage.stop == len(content)
    assert np.count_nonzero(content[damage.start :]) == 1
