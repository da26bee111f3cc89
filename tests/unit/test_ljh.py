"""LJH files: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim_hardware.ljh import LjhError, LjhFile, new_ljh, read_ljh, write_ljh

REAL = Path(__file__).parents[3] / "shared" / "data"
FILES = {
    "xray_chan1.ljh": ("2.1.0", "chan101", 300, 1024, 512, 5.12e-6),
    "xray_noise_chan1.ljh": ("2.1.0", "chan101", 300, 1024, 512, 5.12e-6),
    "umux_chan4109.ljh": ("2.2.1", "chan4109", 610, 1000, 250, 4.096e-6),
}


@pytest.fixture(params=FILES)
def real(request: pytest.FixtureRequest) -> Path:
    path = REAL / str(request.param)
    if not path.exists():
        pytest.skip(f"{REAL} with real pulses is not beside the checkout")
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three records of 16 samples, LJH 2.2."""
    path = tmp_path / "small.ljh"
    write_ljh(path, small_file())
    return path


def small_file(**changes: object) -> LjhFile:
    parts: dict[str, object] = {
        "version": "2.2.1",
        "timebase_s": 5.12e-6,
        "presamples": 4,
        "times_us": np.array([1_000, 2_000, 2_000], np.int64),
        "counts": np.array([64, 6400, 6464], np.int64),
        "samples": np.arange(48, dtype=np.uint16).reshape(3, 16),
        "subframes": 64,
    }
    return new_ljh(**(parts | changes))  # type: ignore[arg-type]


def edited(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


def test_real_files_read_as_described(real: Path) -> None:
    file = read_ljh(real)
    assert FILES[real.name] == (
        file.version,
        file.channel,
        file.n_records,
        file.record_length,
        file.presamples,
        file.timebase_s,
    )


def test_real_files_are_written_back_byte_for_byte(real: Path, tmp_path: Path) -> None:
    write_ljh(tmp_path / "again.ljh", read_ljh(real))
    assert (tmp_path / "again.ljh").read_bytes() == real.read_bytes()


def test_times_of_2_1_are_milliseconds_with_ticks_of_4_us(tmp_path: Path) -> None:
    times_us = np.array([5_236, 10_999_996], np.int64)
    samples = np.zeros((2, 8), np.uint16)
    content = new_ljh(
        version="2.1.0", timebase_s=1e-6, presamples=2, times_us=times_us, samples=samples
    )
    write_ljh(tmp_path / "a.ljh", content)
    _, records = (tmp_path / "a.ljh").read_bytes().split(b"#End of Header\n")
    assert records[:6] == bytes([59, 0, 5, 0, 0, 0])
    assert records[22:28] == bytes([249, 0, 0xF7, 0x2A, 0, 0])
    assert read_ljh(tmp_path / "a.ljh").times_us.tolist() == [5_236, 10_999_996]


def test_the_timestamp_offset_makes_times_of_2_1_posix() -> None:
    content = small_file(version="2.1.0", counts=None, timestamp_offset_s=1439485224.407454)
    assert content.posix_us.tolist() == [1439485224408454, 1439485224409454, 1439485224409454]
    assert content.subframes is None


def test_times_of_2_2_are_posix_whatever_the_offset() -> None:
    content = small_file(timestamp_offset_s=1439485224.0)
    assert content.posix_us.tolist() == content.times_us.tolist()


def test_subframes_are_rows_where_the_header_has_no_divisions(small: Path) -> None:
    assert read_ljh(small).subframes == 64
    assert read_ljh(edited(small, b"Subframe divisions: 64", b"Number of rows: 33")).subframes == 33


def test_keys_differ_in_case_and_line_ends_between_writers(small: Path) -> None:
    head, records = small.read_bytes().split(b"#End of Header\n")
    head = head.replace(b"Size In Bytes", b"Size in Bytes").replace(b"\n", b"\r\n")
    small.write_bytes(head + b"#End of Header\r\n" + records)
    assert read_ljh(small).samples.tolist() == small_file().samples.tolist()


def test_what_was_read_cannot_be_changed(small: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        read_ljh(small).samples[0, 0] = 1


def test_arrays_given_stay_writable() -> None:
    samples = np.zeros((3, 16), np.uint16)
    small_file(samples=samples)
    samples[0, 0] = 1


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"#LJH Memorial", b"%PDF-1.7 rial", "expected '#LJH Memorial File Format', found b'%PDF"),
        (b"#End of Header", b"#End", "expected '#End of Header' within the first 1048576 bytes"),
        (b"Presamples: 4\n", b"", "expected 'presamples' in the header, found none"),
        (b"Total Samples: 16\n", b"", "expected 'total samples' in the header, found none"),
        (b"Timebase: 5.12e-06\n", b"", "expected 'timebase' in the header, found none"),
        (
            b"Digitized Word Size In Bytes: 2\n",
            b"",
            "expected 'digitized word size in bytes' in the header, found none",
        ),
        (
            b"Save File Format Version: 2.2.1\n",
            b"",
            "expected 'save file format version' in the header, found none",
        ),
        (b"Version: 2.2.1", b"Version: 3.0", r"expected LJH 2\.1 or 2\.2, found '3\.0'"),
        (b"In Bytes: 2", b"In Bytes: 4", "'digitized word size in bytes' .* from 2 to 2, found '4"),
        (b"Presamples: 4", b"Presamples: few", "'presamples' to be a whole number .* found 'few'"),
        (b"Presamples: 4", b"Presamples: 16", "'presamples' .* from 0 to 15, found '16'"),
        (b"Total Samples: 16", b"Total Samples: 0", "'total samples' .* from 1 to .* found '0'"),
        (b"Timebase: 5.12e-06", b"Timebase: soon", "'timebase' to be a number .* found 'soon'"),
        (b"Timebase: 5.12e-06", b"Timebase: nan", "'timebase' to be a number .* found 'nan'"),
        (b"Timebase: 5.12e-06", b"Timebase: -1", "'timebase' .* from 1e-09 to 1, found '-1'"),
        (b"Timestamp offset (s): 0.0", b"Timestamp offset (s): -5", r"'timestamp offset \(s\)'"),
        (b"Channel: 1\n", b"Channel: one\n", "'channel' to be a whole number .* found 'one'"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(
    small: Path, old: bytes, new: bytes, sentence: str
) -> None:
    with pytest.raises(LjhError, match=sentence) as refusal:
        read_ljh(edited(small, old, new))
    assert str(refusal.value).startswith(f"{small}: ")


def test_a_header_without_end_of_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ljh").write_bytes(b"#LJH Memorial File Format\n#End of Header")
    with pytest.raises(LjhError, match="expected '#End of Header'"):
        read_ljh(tmp_path / "a.ljh")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LjhError, match=r"none\.ljh: expected an LJH file, found: No such file"):
        read_ljh(tmp_path / "none.ljh")


def test_a_truncated_record_is_refused_with_what_is_whole(small: Path) -> None:
    small.write_bytes(small.read_bytes()[:-7])
    with pytest.raises(LjhError, match="whole records of 48 bytes, found 2 of them and 41 bytes"):
        read_ljh(small)


def test_a_file_without_records_is_refused(small: Path) -> None:
    head, _ = small.read_bytes().split(b"#End of Header\n")
    small.write_bytes(head + b"#End of Header\n")
    with pytest.raises(LjhError, match="expected records after the header, found none"):
        read_ljh(small)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"times_us": [3, 2, 9]}, "times that never run backwards, found 2 in record 1 after 3"),
        ({"counts": [0, 9, 8]}, "subframe counts that never .* found 8 in record 2 after 9"),
        ({"times_us": [-1, 2, 9]}, "expected times in us from 0 to .*, found -1 to 9"),
        ({"times_us": [1, 2, 1 << 62]}, "expected times in us from 0 to"),
        ({"counts": [-1, 2, 9]}, "expected counts from 0 to .*, found -1 to 9"),
        ({"times_us": [1, 2]}, "found 2, 3 and 3 records"),
        ({"version": "2.1", "times_us": [4, 6, 8], "counts": None}, "in steps of 4 us"),
        ({"version": "2.1", "times_us": [4, 8, 8], "counts": [0, 0, 256]}, "counts from 0 to 255"),
    ],
)
def test_stamps_that_cannot_be_are_refused(changes: dict[str, object], sentence: str) -> None:
    arrays = {
        key: np.array(value, np.int64) if isinstance(value, list) else value
        for key, value in changes.items()
    }
    with pytest.raises(LjhError, match=sentence):
        small_file(**arrays)


def test_samples_of_another_kind_are_refused() -> None:
    with pytest.raises(LjhError, match="expected uint16 samples in 2 dimensions, found int16 in 2"):
        small_file(samples=np.zeros((3, 16), np.int16))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(LjhError, match="cannot be written: No such file or directory"):
        write_ljh(tmp_path / "none" / "a.ljh", small_file())
