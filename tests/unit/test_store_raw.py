"""Raw streams in the files: what is refused, what damage costs, and which hole is named."""

from __future__ import annotations

import dataclasses
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from daq.errors import FormatError, UsageError
from daq.model.batch import Batch, RawBatch
from daq.store import names
from daq.store.consistency import problems_in
from daq.store.contents import Contents
from daq.store.folder import Folder
from daq.store.log import LogSettings
from daq.store.parts import LogPart
from daq.store.payloads import decode_raw, payloads
from daq.store.reader import open_run
from daq.store.recovery import recover_run
from daq.store.segment import read_segment
from tests.store_runs import SPAN, STARTS, raw_of, record_run

SIZES = [3, 10, 0, 20]
SAMPLES = np.arange(5, dtype="<i2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete run of two segments with the raw stream of C11."""
    folder = tmp_path / "run_000007"
    record_run(folder, SIZES, LogSettings(rotate_bytes=30_000), raw=["C11"])
    Folder(tmp_path, time.time_ns).fold()
    return folder


def test_the_master_shows_the_whole_stream_to_plain_hdf5(folder: Path) -> None:
    expected = [raw for k in range(len(SIZES)) for raw in raw_of(k)]
    with h5py.File(names.master_path(folder)) as file:
        pieces, samples = file["raw/C11/pieces"][:], file["raw/C11/samples"][:]
        assert file["raw/C11/samples"].attrs["units"] == "ADC counts"
    assert pieces["start"].tolist() == [raw.start for raw in expected]
    assert samples.tobytes() == b"".join(raw.samples.tobytes() for raw in expected)
    assert pieces["crc"].tolist() == [zlib.crc32(raw.samples.tobytes()) for raw in expected]
    read = list(open_run(folder).raw("C11"))
    assert [first for first, _ in read] == [raw.start for raw in expected]
    assert all(np.array_equal(s, raw.samples) for (_, s), raw in zip(read, expected, strict=True))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (RawBatch(2, 0, SAMPLES), "raw: expected a channel below 2, found 2"),
        (RawBatch(0, 0, SAMPLES.astype("<i4")), "raw samples of channel 0: expected int16"),
        (RawBatch(0, 0, SAMPLES.reshape(1, 5)), r"raw samples of channel 0: expected int16 \[1\]"),
    ],
)
def test_what_is_no_raw_stream_is_refused(raw: RawBatch, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        payloads(Batch(raw=(raw,)), [64, 16])


@pytest.mark.parametrize("content", [b"", b"short", bytes(17)])
def test_a_frame_that_holds_no_raw_samples_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError, match=f"expected raw samples, found {len(content)} bytes"):
        decode_raw(content)


def contents(folder: Path) -> list[Contents]:
    return [read_segment(path) for path in names.segments(folder).values()]


def test_a_hole_that_is_no_gap_is_named(folder: Path) -> None:
    found = contents(folder)
    pieces, samples = found[0].raw["C11"]
    length = int(pieces["stop"][0] - pieces["start"][0])
    found[0] = dataclasses.replace(found[0], raw={"C11": (pieces[1:], samples[length:])})
    (problem,) = problems_in([LogPart(f"part {i}", c) for i, c in enumerate(found)], whole=True)
    start = STARTS["targets"]
    assert problem == (
        f"raw stream of channel C11: expected samples or a gap from {start} to {start + SPAN}, "
        "found 0 samples in gaps"
    )


def test_a_stream_that_ends_too_early_is_named(folder: Path) -> None:
    found = contents(folder)
    last = max(i for i, content in enumerate(found) if len(content.raw["C11"][0]))
    pieces, samples = found[last].raw["C11"]
    length = int(pieces["stop"][-1] - pieces["start"][-1])
    found[last] = dataclasses.replace(found[last], raw={"C11": (pieces[:-1], samples[:-length])})
    (problem,) = problems_in([LogPart(f"part {i}", c) for i, c in enumerate(found)], whole=True)
    stop = STARTS["targets"] + len(SIZES) * SPAN
    assert f"expected samples or a gap from {stop - SPAN} to {stop}, found 0" in problem


def test_a_damaged_chunk_costs_the_pieces_in_it_and_no_record(folder: Path) -> None:
    path = names.segment_path(folder, 1)
    with h5py.File(path) as file:
        info = file["raw/C11/samples"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[info.byte_offset + info.size // 2] ^= 1
    path.write_bytes(content)
    problems = recover_run(folder).problems
    assert any("raw stream of channel C11: 3 of 3 pieces cannot be read" in p for p in problems)
    assert any("raw stream of channel C11: expected samples or a gap" in p for p in problems)
    assert len(open_run(folder).records("C11")[0]) == sum(SIZES)
