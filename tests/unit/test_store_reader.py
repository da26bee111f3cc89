"""Reading runs in every state, and refusing what is none."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from daq.errors import FormatError, StorageError, UsageError
from daq.store import names
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.parts import parts_of
from daq.store.reader import open_run
from tests.store_runs import SMALL, SPAN, STARTS, T_NS, batch_of, record_run, start_payload

SIZES = [3, 10, 0, 20, 5, 12]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that has ended and is in its log."""
    path = tmp_path / "run_000007"
    record_run(path, SIZES, LogSettings(rotate_bytes=5000))
    return path


@pytest.fixture
def complete(folder: Path) -> Path:
    Folder(folder.parent, time.time_ns).fold()
    return folder


def test_a_complete_run_says_what_it_is(complete: Path) -> None:
    with open_run(complete) as run:
        assert (run.number, run.name, run.comment) == (7, "bench", "tungstate, 10 µK")
        assert (run.software, run.host, run.user) == ("scheelite 0.1.0", "daq1", "night")
        assert (run.start_ns, run.stop_ns) == (T_NS, T_NS + 10**9)
        assert (run.complete, run.recovered, run.reason) == (True, False, "enough")
        assert run.stops == {name: start + 6 * SPAN for name, start in STARTS.items()}
        assert run.settings == {"experiment": {"name": "bench"}}
        assert run.settings_toml == '[experiment]\nname = "bench"  # µ\n'
        assert [channel.name for channel in run.channels] == ["C11", "SI"]
        assert run.channels[0].trigger.edge_span == 24
        assert [d.anchors for d in run.digitizers] == [[(1000, T_NS)], [(50, T_NS)]]


def test_a_complete_run_gives_what_was_recorded(complete: Path) -> None:
    with open_run(complete) as run:
        assert run.n_records() == {"C11": 50, "SI": 50}
        assert run.livetime_s() == pytest.approx({"C11": 5.764, "SI": 5.9904})
        assert run.events()["event"].tolist() == list(range(50))
        assert len(run.members()) == 100
        assert run.gaps()["cause"].tolist() == [b"overflow"] * 2
        assert len(run.ledger()) == len(run.anchors()) == len(run.readings()) == 12
        assert run.messages()["text"].tolist() == ["über und aus".encode()]
        assert run.inputs() == [{"input": "stop"}]


@pytest.mark.parametrize("name", ["", "run_000007.h5", "segment_000001.h5", "manifest.json"])
def test_a_run_is_opened_by_its_folder_or_any_file_in_it(complete: Path, name: str) -> None:
    assert open_run(complete / name).number == 7


def test_a_run_is_opened_by_a_file_of_its_log(folder: Path) -> None:
    assert open_run(names.log_path(folder, 1)).n_records()["C11"] == 50


def test_a_run_that_was_moved_is_the_same_run(complete: Path, tmp_path: Path) -> None:
    shutil.copytree(complete, tmp_path / "elsewhere" / "run_000007")
    shutil.rmtree(complete)
    assert open_run(tmp_path / "elsewhere" / "run_000007").records("SI")[1].shape == (50, 16)
    with h5py.File(tmp_path / "elsewhere" / "run_000007" / "run_000007.h5") as master:
        assert master["records/SI/table"]["record"].tolist() == list(range(50))


def test_samples_are_read_where_they_are_asked(complete: Path) -> None:
    table, samples = open_run(complete).records("C11")
    every = samples[:]
    assert every.shape == samples.shape == (len(table), 64)
    assert every.tobytes() == b"".join(
        batch_of(SIZES, k).records[0].samples.tobytes() for k in range(6) if SIZES[k]
    )
    assert len(samples) == 50
    for index in (0, 2, 3, 12, 13, 49, -1, np.int64(7)):
        assert samples[index].tolist() == every[index].tolist()
    for part in (slice(2, 14), slice(None, None, 7), slice(40, 10), slice(-3, None)):
        assert samples[part].tolist() == every[part].tolist()
    assert np.asarray(samples).dtype == np.int16
    assert np.asarray(samples, np.float32).tolist() == every.tolist()
    with pytest.raises(IndexError):
        samples[50]
    with pytest.raises(UsageError, match="expected records in order, found a step of -1"):
        samples[::-1]
    with pytest.raises(ValueError, match="expected a copy to be allowed"):
        np.asarray(samples, copy=False)


def test_a_run_is_read_in_pieces(complete: Path) -> None:
    run = open_run(complete)
    pieces = list(run.batches("SI"))
    assert len(pieces) == len(names.segments(complete)) > 2
    assert [len(table) for table, _ in pieces] == [len(samples) for _, samples in pieces]
    assert np.concatenate([s for _, s in pieces]).tolist() == run.records("SI")[1][:].tolist()


def test_a_running_run_is_read_up_to_its_last_commit(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    folder.mkdir()
    settings = LogSettings(rotate_bytes=5000)
    with LogWriter(folder, settings, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, start_payload(7))
        for k in range(6):
            writer.commit(batch_of(SIZES, k), b"")
            writer.sync()
            with open_run(folder) as run:
                assert run.n_records()["C11"] == sum(SIZES[: k + 1])
                assert (run.complete, run.recovered, run.reason, run.stop_ns) == (
                    False,
                    False,
                    "",
                    None,
                )
            if k == 4:
                next(Folder(tmp_path, time.time_ns).steps())
    assert names.segments(folder)


def test_a_segment_and_its_log_count_once(folder: Path) -> None:
    logs = {path: path.read_bytes() for path in names.logs(folder).values()}
    Folder(folder.parent, time.time_ns).fold()
    names.log_folder(folder).mkdir()
    for path, content in logs.items():
        path.write_bytes(content)
    assert open_run(folder).n_records() == {"C11": 50, "SI": 50}


def test_a_log_that_is_folded_while_the_run_is_opened_is_found_as_segment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = names.segments

    def fold_behind_the_back(path: Path) -> dict[int, Path]:
        monkeypatch.undo()
        before = listed(path)
        Folder(path.parent, time.time_ns).fold()
        return before

    monkeypatch.setattr(names, "segments", fold_behind_the_back)
    assert open_run(folder).n_records() == {"C11": 50, "SI": 50}


def test_a_log_that_vanishes_for_ever_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {1: names.log_path(folder, 99)}
    monkeypatch.setattr(names, "logs", lambda _: gone)
    with pytest.raises(StorageError, match="expected log files that can be read"):
        parts_of(folder)


# --- refusals ---


def test_an_unknown_channel_is_refused(complete: Path) -> None:
    run = open_run(complete)
    with pytest.raises(UsageError, match="run 7: expected one of the channels C11, SI, found 'X'"):
        run.records("X")
    with pytest.raises(UsageError, match="found 'X'"):
        next(run.batches("X"))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a run, found nothing"):
        open_run(tmp_path / "run_000001")
    with pytest.raises(FormatError, match="expected a run folder such as run_000123"):
        open_run(tmp_path)
    (tmp_path / "some.h5").touch()
    with pytest.raises(FormatError, match=r"some\.h5: expected a run folder such as run_000123"):
        open_run(tmp_path / "some.h5")
    (tmp_path / "run_000001").mkdir()
    with pytest.raises(FormatError, match="expected a run, found neither log nor segments"):
        open_run(tmp_path / "run_000001")


def test_a_missing_segment_is_refused(complete: Path) -> None:
    names.segment_path(complete, 1).unlink()
    with pytest.raises(FormatError, match=r"segment_000001\.h5: missing"):
        open_run(complete)


def replaced(complete: Path, content: bytes) -> Path:
    """The run with its last segment replaced."""
    max(names.segments(complete).values()).write_bytes(content)
    return complete


def test_a_truncated_segment_is_refused(complete: Path) -> None:
    content = max(names.segments(complete).values()).read_bytes()
    with pytest.raises(FormatError, match=r"segment_.*\.h5: expected a run file, cannot be read:"):
        open_run(replaced(complete, content[: len(content) // 2]))


def test_a_foreign_file_is_refused(complete: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"segment_.*\.h5: expected a run file, cannot be read:"):
        open_run(replaced(complete, b"no HDF5 at all"))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "another"
    with pytest.raises(FormatError, match="expected a scheelite-run file, found another kind"):
        open_run(replaced(complete, (tmp_path / "other.h5").read_bytes()))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs.update({"format": "scheelite-run", "format_version": 2})
    with pytest.raises(FormatError, match="expected format version 1, found 2"):
        open_run(replaced(complete, (tmp_path / "other.h5").read_bytes()))


def test_a_segment_with_something_missing_is_refused(complete: Path) -> None:
    with h5py.File(max(names.segments(complete).values()), "a") as file:
        del file["events"]
    with pytest.raises(FormatError, match=r"segment_.*\.h5: damaged: .*events"):
        open_run(complete).events()


def test_a_segment_with_other_columns_is_refused(complete: Path) -> None:
    with h5py.File(max(names.segments(complete).values()), "a") as file:
        del file["events"]
        file["events"] = np.zeros(3)
    with pytest.raises(FormatError, match=r"damaged: /events: expected columns"):
        open_run(complete).events()


def test_a_damaged_marker_is_refused(complete: Path) -> None:
    names.complete_path(complete).write_bytes(b"yes")
    with pytest.raises(FormatError, match="complete: expected the marker of a complete run"):
        open_run(complete)


def test_a_damaged_log_gives_what_is_whole_and_no_start_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    record_run(folder, [2, 3], SMALL)
    path = names.log_path(folder, 1)
    content = bytearray(path.read_bytes())
    content[bytes(content).index(b'"bench"') + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"000001\.log: expected the start of a run, found it"):
        open_run(folder)
