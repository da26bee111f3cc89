"""Recovery: what is left of a run becomes a complete one, twice the same; losses are named."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import h5py
import pytest
from msgspec.structs import replace

from daq.errors import FormatError, StorageError
from daq.model.batch import Batch
from daq.store import names
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.logfile import parse
from daq.store.owner import HeldError
from daq.store.reader import open_run
from daq.store.recovery import recover_run
from daq.store.salvaging import Order, salvaged
from daq.store.segment import read_segment
from daq.store.verify import verify
from tests.store_runs import batch_of, end_payload, readings, record_run, start_payload

SIZES = [3, 10, 0, 20, 5, 12]
SETTINGS = LogSettings(rotate_bytes=5000)
SHORT_S = 5.0  # more than a child takes to begin


@cache
def logged() -> Path:
    """A run that has ended and is not folded."""
    folder = Path(mkdtemp(prefix="scheelite-recover-")) / "run_000007"
    record_run(folder, SIZES, SETTINGS)
    return folder


@cache
def complete() -> Path:
    folder = Path(mkdtemp(prefix="scheelite-recover-")) / "run_000007"
    shutil.copytree(logged(), folder)
    Folder(folder.parent, time.time_ns).fold()
    return folder


@pytest.fixture(scope="module", autouse=True)
def _clean():
    yield
    for whole in (logged, complete):
        shutil.rmtree(whole().parent)


def copy_of(source: Path, parent: Path) -> Path:
    shutil.copytree(source, parent / "run_000007")
    return parent / "run_000007"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def sample_chunk(path: Path) -> int:
    """A byte in the middle of the samples of a segment."""
    with h5py.File(path) as file:
        info = file["records/C11/samples"].id.get_chunk_info(0)
    return int(info.byte_offset + info.size // 2)


# --- what is left, and how it comes back ---


def only_logs(folder: Path) -> None:
    pass


def half_folded(folder: Path) -> None:
    next(Folder(folder.parent, time.time_ns).steps())


def drafts_left(folder: Path) -> None:
    half_folded(folder)
    (folder / "segment_000002.h5.part").write_bytes(b"\x89HDF\r\n\x1a\n half a file")
    (folder / "manifest.json.part").write_bytes(b"{")
    (names.log_folder(folder) / "000099.log.part").write_bytes(bytes(4096))


def segment_torn_beside_its_log(folder: Path) -> None:
    half_folded(folder)
    content = names.segment_path(folder, 1).read_bytes()
    names.segment_path(folder, 2).write_bytes(content[: len(content) // 2])


def no_master(folder: Path) -> None:
    names.master_path(folder).unlink()


def no_manifest(folder: Path) -> None:
    names.manifest_path(folder).unlink()


def no_marker(folder: Path) -> None:
    names.complete_path(folder).unlink()


def marker_torn(folder: Path) -> None:
    names.complete_path(folder).write_bytes(b'{"comp')


def only_a_draft_left(folder: Path) -> None:
    path = names.segment_path(folder, 2)
    path.rename(folder / "segment_000002.h5.part")
    names.complete_path(folder).unlink()


HARMLESS: list[tuple[Callable[[], Path], Callable[[Path], None]]] = [
    (logged, only_logs),
    (logged, half_folded),
    (logged, drafts_left),
    (logged, segment_torn_beside_its_log),
    (complete, no_master),
    (complete, no_manifest),
    (complete, no_marker),
    (complete, marker_torn),
    (complete, only_a_draft_left),
]


@pytest.mark.parametrize(("source", "break_it"), HARMLESS, ids=lambda each: each.__name__)
def test_what_a_crash_leaves_becomes_whole_twice_the_same(
    tmp_path: Path, source: Callable[[], Path], break_it: Callable[[Path], None]
) -> None:
    folder = copy_of(source(), tmp_path / "one")
    break_it(folder)
    twin = copy_of(folder, tmp_path / "two")
    found = recover_run(folder)
    assert found.problems == []
    assert found.records == {"C11": sum(SIZES), "SI": sum(SIZES)}
    assert found.done
    recover_run(twin)
    assert contents(twin) == contents(folder)
    assert not list(folder.rglob("*.part"))
    assert records_of(folder) == records_of(complete())
    assert recover_run(folder).done == []
    assert contents(twin) == contents(folder)


def records_of(folder: Path) -> tuple[bytes, ...]:
    run = open_run(folder)
    found = [run.records(name) for name in ("C11", "SI")]
    parts = [part for table, samples in found for part in (table.tobytes(), samples[:].tobytes())]
    return (*parts, run.ledger().tobytes(), run.readings().tobytes(), run.messages().tobytes())


def test_a_run_without_an_end_is_abandoned_with_all_that_was_synced(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    folder.mkdir()
    with LogWriter(folder, SETTINGS, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, start_payload(7))
        for k in range(len(SIZES)):
            writer.commit(batch_of(SIZES, k), b"")
        writer.external(Kind.READINGS, readings(3))
    last = max(names.logs(folder).values())
    last.write_bytes(last.read_bytes() + b"SLOG torn")  # a tail that never became a frame
    found = recover_run(folder)
    run = open_run(folder)
    assert found.records == {"C11": sum(SIZES), "SI": sum(SIZES)}
    assert (run.reason, run.recovered, len(run.readings())) == ("abandoned", True, 3)
    assert names.complete_path(folder).exists()


# --- what is damaged is named, and costs no more than itself ---


def flipped_samples(folder: Path) -> None:
    path = names.segment_path(folder, 2)
    flip(path, sample_chunk(path))


def no_segment(folder: Path) -> None:
    names.segment_path(folder, 2).unlink()


def no_superblock(folder: Path) -> None:
    path = names.segment_path(folder, 2)
    path.write_bytes(bytes(512) + path.read_bytes()[512:])


def cut_off(folder: Path) -> None:
    path = names.segment_path(folder, 2)
    path.write_bytes(path.read_bytes()[:-1000])


def no_table(folder: Path) -> None:
    with h5py.File(names.segment_path(folder, 2), "a") as file:
        del file["gaps"]


def hanging_heap(folder: Path) -> None:
    """A byte of the heap of HDF5's texts, from which on reading one of them never ends."""
    path = names.segment_path(folder, 2)
    flip(path, path.read_bytes().index(b"GCOL") + 9)


def other_run_start(folder: Path) -> None:
    with h5py.File(names.segment_path(folder, 2), "a") as file:
        file["run_start"][...] = bytes(file["run_start"][()]).replace(b"night", b"nighT")


def flipped_log(folder: Path) -> None:
    path = names.log_path(folder, 2)
    flip(path, parse(path.read_bytes(), 7, 2, followed=True).units[0].frames[0].start + 60)


def nothing_but_zeros_in_a_log(folder: Path) -> None:
    path = names.log_path(folder, 2)
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("source", "break_it", "words", "n_lost"),
    [
        (complete, flipped_samples, "segment_000002.damaged: channel C11: 20 of 20 records", 20),
        (complete, no_superblock, "segment_000002.damaged: all of it is lost", 20),
        (complete, cut_off, "segment_000002.damaged: all of it is lost", 20),
        (complete, no_table, "segment_000002.damaged: /gaps: all of it is lost", 0),
        (complete, no_segment, "segment_000003.h5: expected to begin with commit", 20),
        (logged, flipped_log, "log/000002.damaged: commit 3 is not whole", 0),
        (logged, nothing_but_zeros_in_a_log, "log/000002.damaged: bytes 0: expected ", 20),
    ],
)
def test_damage_is_named_and_the_rest_is_kept(
    tmp_path: Path,
    source: Callable[[], Path],
    break_it: Callable[[Path], None],
    words: str,
    n_lost: int,
) -> None:
    folder = copy_of(source(), tmp_path / "one")
    break_it(folder)
    twin = copy_of(folder, tmp_path / "two")
    found = recover_run(folder)
    assert any(words in problem for problem in found.problems), found.problems
    assert bool(list(folder.rglob("*.damaged"))) is (break_it is not no_segment)
    recover_run(twin)
    assert contents(twin) == contents(folder)
    assert recover_run(folder).done == []
    assert len(open_run(folder).records("C11")[0]) == sum(SIZES) - n_lost


def test_a_file_on_which_hdf5_hangs_costs_its_texts_only(tmp_path: Path) -> None:
    folder = copy_of(complete(), tmp_path / "one")
    hanging_heap(folder)
    hung = f"segment_000002.h5: cannot be read: no answer within {SHORT_S:g} s"
    assert hung in verify(folder, SHORT_S).problems
    assert recover_run(folder, SHORT_S).problems == []
    assert records_of(folder) == records_of(complete())
    assert recover_run(folder).done == []


def test_nobody_waits_longer_than_is_said_for_a_salvage(tmp_path: Path) -> None:
    folder = copy_of(complete(), tmp_path)
    path = names.segment_path(folder, 2)
    order = Order(str(path), start_payload(7), 2, 2, 0)
    found = salvaged(order, 0.0)
    assert found.problems == ["segment_000002.h5: all of it is lost: no answer within 0 s"]
    other = replace(order, start_text=b"no run's", path=str(tmp_path))
    with pytest.raises(FormatError, match="expected the JSON of a RunStart"):
        salvaged(other, 60.0)  # whose child died of the same
    nowhere = salvaged(replace(order, path=str(tmp_path)), 60.0).problems
    assert nowhere[0].endswith("expected a run file, cannot be read: file read failed")
    path.write_bytes(found.image)
    facts = read_segment(path).facts
    assert (facts.start.run, facts.first_commit, facts.last_commit) == (7, 3, 2)


def test_a_start_that_most_files_deny_is_not_believed(tmp_path: Path) -> None:
    folder = copy_of(complete(), tmp_path)
    other_run_start(folder)
    problems = recover_run(folder).problems
    assert any("segment_000002.damaged: /run_start is not that" in p for p in problems)
    assert open_run(folder).user == "night"
    assert len(open_run(folder).records("C11")[0]) == sum(SIZES)


# --- what is refused ---


def test_a_run_that_is_being_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    folder.mkdir()
    with LogWriter(folder, SETTINGS, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, start_payload(7))
        writer.commit(Batch(), b"")
        writer.sync()
        with pytest.raises(HeldError, match="expected nobody to write it, found process"):
            recover_run(folder)
        writer.external(Kind.RUN_END, end_payload(0))
        writer.commit(Batch(), b"")


def test_what_tells_nothing_of_the_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    names.log_folder(folder).mkdir(parents=True)
    names.log_path(folder, 1).write_bytes(b"noise" * 1000)
    before = contents(folder)
    with pytest.raises(StorageError, match="expected the start of the run in a segment or log"):
        recover_run(folder)
    assert contents(folder) == before
    with pytest.raises(FormatError, match="expected a run, found nothing"):
        recover_run(tmp_path / "nowhere")
