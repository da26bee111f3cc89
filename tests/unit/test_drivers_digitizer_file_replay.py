"""Recorded files as a digitizer: every sample at its number, every hole a gap, and bad files."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from daq.errors import FormatError, NotConnectedError, ReplyError
from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers.digitizer.digitizer import End, Samples
from drivers.digitizer.file_replay import FileReplay, FileReplaySettings
from drivers.digitizer.recording import DAMAGED, UNRECORDED
from tests.digitizer_server import T0_NS, packet, values

LENGTH, TIMEBASE_S = 8, 1e-5
HEADER = """#LJH Memorial File Format
Save File Format Version: {version}
Channel name: chan7
Channel: 7
{more}Digitized Word Size In Bytes: 2
Presamples: 2
Total Samples: 8
Timestamp offset (s): 1500000000.0
Timebase: 1.0e-05
#End of Header
"""


def ljh(path: Path, stamps: list[tuple[int, int]], version: str = "2.2.1", more: str = "") -> Path:
    """A file of records 0, 1, ..., with these stamps, by the format's own table."""
    form = "<qq" if version.startswith("2.2") else "<HI"
    body = b"".join(
        struct.pack(form, *stamp) + record(k).astype("<u2").tobytes()
        for k, stamp in enumerate(stamps)
    )
    path.write_bytes(HEADER.format(version=version, more=more).encode() + body)
    return path


def record(k: int) -> np.ndarray:
    return 1000 * k + np.arange(LENGTH)


def recorded(path: Path, *packets: bytes, **changes: object) -> Path:
    """A recording of the stream "targets" of two channels at 1 kHz."""
    hello = {
        "protocol": "scheelite-digitizer", "version": 1, "name": "targets",
        "channels": ["C0", "C1"], "rate_hz": 1000.0, "volts_per_count": 3e-4, "stream": "night-1",
        "can_wait": False, "oldest": 100, "next": 200, "anchor": [0, T0_NS], **changes,
    }  # fmt: skip
    path.write_bytes(json.dumps(hello).encode() + b"\n" + b"".join(packets))
    return path


def stretch(number: int, start: int, stop: int) -> bytes:
    return packet(1, number, start, samples=values(start, stop, 2))


NIGHT = (
    stretch(0, 990, 1000),
    packet(2, 1, 1000, T0_NS + 10**9),
    stretch(2, 1000, 1010),
    packet(3, 3, 1010, 1015),
    stretch(4, 1015, 1020),
    packet(4, 5, 1020),
)


def replay(path: Path, **settings: object) -> FileReplay:
    given = {"model": "file-replay", "resource": str(path), **settings}
    return FileReplay.from_settings("d", FileReplaySettings.model_validate(given))


def events_of(path: Path, start: int = 0, **settings: object) -> list:
    """Everything that comes from `start` on."""
    with contextlib.closing(replay(path, **settings)) as digitizer:
        digitizer.connect()
        digitizer.start(start)
        return read_to_the_end(digitizer)


def read_to_the_end(digitizer: FileReplay) -> list:
    events = [digitizer.read(0.0)]
    while not isinstance(events[-1], End):
        events.append(digitizer.read(0.0))
    return events


def told(events: list) -> list:
    """The events, samples as (start, values of each channel)."""
    return [(e.start, e.samples.tolist()) if isinstance(e, Samples) else e for e in events]


def counts(event: Samples) -> list[int]:
    """What the LJH file has."""
    return (event.samples[0].astype(int) + 32768).tolist()


# --- LJH -------------------------------------------------------------------------------------


def test_counted_records_lie_where_they_were_counted_and_overlaps_come_once(tmp_path):
    rows = "Subframe divisions: 10\n"
    path = ljh(tmp_path / "a.ljh", [(500, 10), (700, 20), (750, 30)], more=rows)
    first, gap, second, third, end = events_of(path)
    assert (first.start, counts(first)) == (0, record(0).tolist())
    assert gap == Gap(8, 20, exact=True, cause=UNRECORDED)
    assert (second.start, counts(second)) == (20, record(1).tolist())
    assert (third.start, counts(third)) == (28, record(2)[3:].tolist())
    assert end == End(33)


def test_a_record_within_the_one_before_says_nothing_new(tmp_path):
    rows = "Number of rows: 10\n"  # as before there were subframe divisions
    path = ljh(tmp_path / "a.ljh", [(500, 10), (500, 10)], more=rows)
    assert [type(e) for e in events_of(path)] == [Samples, End]


def test_timed_records_lie_at_their_times_and_none_loses_a_sample(tmp_path):
    # 2.1: 4 us units and milliseconds; the last two have the same time
    path = ljh(tmp_path / "a.ljh", [(0, 5), (50, 6), (50, 6)], version="2.1.0")
    events = events_of(path)
    starts = [e.start for e in events if isinstance(e, Samples)]
    assert starts == [0, 120, 129]
    assert [counts(e) for e in events if isinstance(e, Samples)] == [
        record(k).tolist() for k in range(3)
    ]
    gaps = [e for e in events if isinstance(e, Gap)]
    assert [(g.start, g.stop, g.exact) for g in gaps] == [(8, 120, False), (128, 129, False)]


@pytest.mark.parametrize(
    ("version", "first_ns"), [("2.1.0", 1_500_000_000_005_000_000), ("2.2.0", 5_000)]
)
def test_what_an_ljh_file_is_as_a_digitizer(tmp_path, version, first_ns):
    facts = replay(ljh(tmp_path / "a.ljh", [(0, 5), (0, 6)], version=version)).connect()
    assert (facts.name, facts.channels, facts.can_wait) == ("d", ("chan7",), True)
    assert (facts.rate_hz, facts.volts_per_count) == (pytest.approx(1e5), 1 / 65536)
    assert (facts.oldest, facts.anchor) == (0, Anchor(0, first_ns))


def test_every_number_of_sixteen_bits_is_itself(tmp_path):
    path = ljh(tmp_path / "a.ljh", [(0, 0)])
    words = np.array([0, 1, 32767, 32768, 32769, 65535, 7, 8], "<u2")
    path.write_bytes(path.read_bytes()[: -2 * LENGTH] + words.tobytes())
    assert counts(events_of(path)[0]) == words.tolist()


def test_the_same_file_is_the_same_stream_and_a_changed_one_is_not(tmp_path):
    path = ljh(tmp_path / "a.ljh", [(0, 0)])
    before = replay(path).connect().stream
    assert replay(path).connect().stream == before
    ljh(path, [(0, 0), (0, 900)])
    assert replay(path).connect().stream != before


# --- a recorded stream -----------------------------------------------------------------------


def test_a_recorded_stream_comes_back_bit_for_bit(tmp_path):
    path = recorded(tmp_path / "night", *NIGHT)
    facts = replay(path).connect()
    assert (facts.channels, facts.rate_hz, facts.volts_per_count) == (("C0", "C1"), 1000.0, 3e-4)
    assert (facts.stream, facts.oldest, facts.next) == ("night-1", 990, 1020)
    assert facts.anchor == Anchor(0, T0_NS)
    assert told(events_of(path, 990)) == [
        (990, values(990, 1000, 2).tolist()),
        Anchor(1000, T0_NS + 10**9),
        (1000, values(1000, 1010, 2).tolist()),
        Gap(1010, 1015),
        (1015, values(1015, 1020, 2).tolist()),
        End(1020),
    ]


@pytest.mark.parametrize("start", range(985, 1021))
def test_it_goes_on_at_any_sample(tmp_path, start):
    at = max(start, 990)
    for event in events_of(recorded(tmp_path / "night", *NIGHT), start):
        if isinstance(event, Samples):
            assert event.start == at
            np.testing.assert_array_equal(event.samples, values(at, event.stop, 2))
        elif isinstance(event, Gap):
            assert event.start == at
        if not isinstance(event, Anchor):
            at = event.stop
    assert at == 1020


def test_what_is_missing_between_packets_is_a_gap(tmp_path):
    path = recorded(tmp_path / "night", stretch(0, 100, 110), stretch(1, 120, 125))
    assert told(events_of(path))[1:] == [
        Gap(110, 120), (120, values(120, 125, 2).tolist()), End(125)
    ]  # fmt: skip


def test_damaged_samples_are_a_gap_and_never_given(tmp_path):
    damaged = bytearray(stretch(1, 110, 120))
    damaged[-1] ^= 1
    path = recorded(tmp_path / "night", stretch(0, 100, 110), bytes(damaged), stretch(2, 120, 130))
    assert told(events_of(path))[1:] == [
        Gap(110, 120, cause=DAMAGED), (120, values(120, 130, 2).tolist()), End(130)
    ]  # fmt: skip


# --- what is refused -------------------------------------------------------------------------


def head_with(number: int, **places: int) -> bytes:
    """A header of nine fields, some changed, with a right CRC of its own."""
    fields = {"version": 1, "kind": 4, "start": 0, "value": 0, **places}
    head = struct.pack(
        "<4sBBHIIQqI", b"SCHD", fields["version"], fields["kind"], 0, 0, 0,
        fields["start"], fields["value"], 0,
    )  # fmt: skip
    return head + struct.pack("<IQ", zlib.crc32(head), number)


@pytest.mark.parametrize(
    ("packets", "said"),
    [
        ((), "expected samples after the hello, found none"),
        ((stretch(0, 0, 9)[:20],), "expected a packet of 48 bytes at byte .*truncated"),
        ((stretch(0, 0, 9)[:-1],), "expected a packet of 84 bytes .* found 83 .*truncate -s"),
        ((b"x" * 48,), "expected b'SCHD' version 1 from .*night, found b'xxxx'"),
        ((head_with(0, version=2),), "found b'SCHD' version 2"),
        ((head_with(0, kind=9),), "expected an anchor, a gap or the end .* found kind 9"),
        ((stretch(1, 0, 9),), "expected packet 0 from .*night, found packet 1"),
        ((stretch(0, 9, 19), stretch(1, 0, 9)), "expected sample 19 or later .* found sample 0"),
        ((packet(1, 0, 0, samples=values(0, 9, 3)),), "samples of 2 channels, .* found 3 channels"),
    ],
)
def test_a_damaged_recording_is_refused_at_once(tmp_path, packets, said):
    with pytest.raises(FormatError, match=said):
        replay(recorded(tmp_path / "night", *packets))


def test_a_recording_of_another_version_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"expected the hello of a digitizer at .*night"):
        replay(recorded(tmp_path / "night", *NIGHT, version=2))


def test_what_a_busy_digitizer_said_is_no_recording(tmp_path):
    path = tmp_path / "night"
    path.write_bytes(b'{"error": "busy"}\n')
    with pytest.raises(FormatError, match="night does not serve us: busy"):
        replay(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: whole[:-3], "expected whole records of 32 bytes, found 1 of them and 29"),
        (lambda whole: whole[: -2 * 32], "expected records after the header, found none"),
        (lambda whole: whole[:90], "expected '#End of Header' .* truncated"),
        (lambda whole: whole.replace(b"2.2.1", b"3.0.0"), "expected LJH 2.1 or 2.2, found '3.0.0'"),
        (lambda whole: whole.replace(b"Total", b"Some"), "expected a header with 'total samples'"),
        (lambda whole: whole.replace(b"Bytes: 2", b"Bytes: 4"), "size in bytes' of 2, found '4'"),
        (
            lambda whole: whole.replace(b"1.0e-05", b"soon"),
            "'timebase' of .* found 'soon'",
        ),
        (lambda whole: b"PK" + whole, "expected an LJH file or a recorded digitizer stream, found"),
        (lambda whole: b"", "expected an LJH file or a recorded digitizer stream, found b''"),
    ],
)
def test_a_damaged_ljh_file_is_refused_at_once(tmp_path, change, said):
    path = ljh(tmp_path / "a.ljh", [(0, 0), (0, 900)])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FormatError, match=said):
        replay(path)


def test_records_that_run_backwards_are_refused(tmp_path):
    with pytest.raises(FormatError, match="found record 1 before record 0"):
        replay(ljh(tmp_path / "a.ljh", [(0, 900), (0, 0)]))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FormatError, match="missing: expected a recording, found: No such file"):
        replay(tmp_path / "missing")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_channels": 9}, "expected 9 channels in .*night, found 2"),
        ({"device": "vetoes"}, "expected a recording of 'vetoes' in .*night, found .*'targets'"),
    ],
)
def test_another_recording_than_expected_is_refused(tmp_path, settings, said):
    path = recorded(tmp_path / "night", *NIGHT)
    with pytest.raises(FormatError, match=said):
        replay(path, **settings)
    replay(path, n_channels=2, device="targets")


def test_a_key_that_replay_does_not_have_is_refused():
    with pytest.raises(ValidationError, match="rate_hz"):
        FileReplaySettings.model_validate({"model": "m", "resource": "x", "rate_hz": 1.0})


@pytest.mark.parametrize("make", [lambda p: recorded(p, *NIGHT), lambda p: ljh(p, [(0, 0)])])
def test_a_file_that_goes_away_or_shrinks_meanwhile_is_said_to(tmp_path, make):
    path = make(tmp_path / "file")
    digitizer = replay(path)
    facts = digitizer.connect()
    digitizer.start(facts.oldest)
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    with pytest.raises(ReplyError, match="it became shorter"):
        read_to_the_end(digitizer)
    path.unlink()
    with pytest.raises(NotConnectedError, match="No such file"):
        digitizer.connect()
    path.write_bytes(whole)
    digitizer.connect()
    digitizer.close()
    with pytest.raises(NotConnectedError, match="is closed"):
        digitizer.read(0.0)
    with pytest.raises(NotConnectedError, match="is closed"):
        digitizer.start(0)
