"""Damage to a log: every truncation and every flipped bit is noticed, none gives wrong data."""

from __future__ import annotations

import dataclasses
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.errors import FormatError
from daq.store.contents import contents_of
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.logfile import LogFile, parse
from daq.store.names import log_path
from tests.store_runs import batch_of, message, readings, start_payload

TINY = LogSettings(sync_s=3600.0, rotate_s=3600.0, rotate_bytes=1)
SIZES = [1, 2]


@cache
def log_bytes(sealed: bool) -> bytes:
    """A small log with two commits, each synced, and something behind them."""
    settings = dataclasses.replace(TINY, rotate_bytes=1 << 12)
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "run_000007"
        folder.mkdir()
        writer = LogWriter(folder, settings, lambda _: None, time.monotonic)
        writer.external(Kind.RUN_START, start_payload(7))
        for k in range(2):
            writer.commit(batch_of(SIZES, k), b"%d" % k)
            writer.sync()
        writer.external(Kind.MESSAGES, message("behind the commit"))
        writer.sync()
        live = log_path(folder, 1).read_bytes()
        writer.close()
        return log_path(folder, 1).read_bytes() if sealed else live


def read(content: bytes) -> LogFile | str:
    try:
        return parse(content, 7, 1, followed=False)
    except FormatError as error:
        return str(error)


def pieces(file: LogFile) -> set[bytes]:
    """Everything a log gives out, as bytes."""
    frames = [frame for unit in file.units for frame in unit.frames]
    checkpoints = {unit.checkpoint for unit in file.units}
    return checkpoints | {bytes(item.payload) for item in (*frames, *file.external)}


def is_noticed(content: bytes, original: bytes) -> bool:
    """Whether damage is reported; what is still given out was there before."""
    found, whole = read(content), read(original)
    if isinstance(found, str):
        return True
    assert isinstance(whole, LogFile)
    assert pieces(found) <= pieces(whole)
    return bool(found.problems or found.torn)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_whole_log_has_no_problems(sealed: bool) -> None:
    file = read(log_bytes(sealed))
    assert isinstance(file, LogFile)
    assert file.problems == file.torn == []
    assert [unit.number for unit in file.units] == [1, 2]
    assert [len(t) for t, _ in contents_of(file, followed=False).records] == [3, 3]


@pytest.mark.parametrize("sealed", [True, False])
def test_every_truncation_is_noticed(sealed: bool) -> None:
    content = log_bytes(sealed)
    missed = [n for n in range(len(content)) if not is_noticed(content[:n], content)]
    assert missed == []


@pytest.mark.parametrize("sealed", [True, False])
def test_a_flipped_bit_in_any_byte_is_noticed(sealed: bool) -> None:
    content = log_bytes(sealed)
    flipped = bytearray(content)
    missed = []
    for at in range(len(content)):
        flipped[at] ^= 1 << (at * 5 % 8)
        if not is_noticed(bytes(flipped), content):
            missed.append(at)
        flipped[at] = content[at]
    assert missed == []


@given(st.data(), st.booleans())
def test_any_change_of_bytes_is_noticed(data: st.DataObject, sealed: bool) -> None:
    content = log_bytes(sealed)
    at = data.draw(st.integers(0, len(content) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=64))
    changed = content[:at] + piece + content[at + len(piece) :]
    assert changed == content or is_noticed(changed, content)


@given(st.binary(max_size=2000))
def test_any_bytes_are_no_log_and_give_nothing(content: bytes) -> None:
    found = read(content)
    assert isinstance(found, LogFile)
    assert pieces(found) == set()
    assert found.problems


def test_a_log_under_another_number_is_noticed() -> None:
    found = parse(log_bytes(True), 8, 1, followed=False)
    assert found.units == []
    assert any("another file or run" in problem for problem in found.problems + found.torn)
    assert found.problems


def test_a_damaged_commit_that_was_synced_costs_only_itself() -> None:
    content = bytearray(log_bytes(True))
    file = parse(bytes(content), 7, 1, followed=False)
    content[file.units[0].frames[0].start + 40] ^= 1
    found = parse(bytes(content), 7, 1, followed=False)
    assert [unit.number for unit in found.units] == [2]
    assert "commit 1 is not whole: what it held is lost" in found.problems


def test_a_hole_in_what_was_never_synced_ends_the_log_there(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    folder.mkdir()
    with LogWriter(folder, TINY_FILE, lambda _: None, lambda: 0.0) as writer:
        writer.external(Kind.RUN_START, start_payload(7))
        writer.sync()
        for k in range(4):
            writer.commit(batch_of([1] * 4, k), b"%d" % k)
            writer.external(Kind.READINGS, readings(1))
        written = _when_written(folder, 4)
    file = parse(written, 7, 1, followed=False)
    assert [unit.number for unit in file.units] == [1, 2, 3, 4]
    torn = bytearray(written)
    torn[file.units[1].frames[0].start + 40] ^= 1  # as a power cut leaves a page out
    found = parse(bytes(torn), 7, 1, followed=False)
    assert [unit.number for unit in found.units] == [1]
    assert found.problems == []
    assert found.torn
    assert len(found.pending) == 4  # what came from outside is kept, also from behind the hole


TINY_FILE = LogSettings(sync_s=3600.0, rotate_s=3600.0, rotate_bytes=1 << 16)


def _when_written(folder: Path, commits: int) -> bytes:
    """The file as soon as so many commits are in it; none of them is synced."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        content = log_path(folder, 1).read_bytes()
        file = parse(content, 7, 1, followed=False)
        if len(file.units) == commits and len(file.external) == commits + 1:
            return content
    raise AssertionError(f"{commits} commits were not written within 10 s")
