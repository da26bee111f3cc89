"""A power cut at any moment: nothing promised is lost, nothing twice, nothing wrong."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from daq.errors import StorageError
from daq.store import disk, names
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter, recover
from daq.store.reader import open_run
from daq.store.recovery import recover_run
from tests.store_disk import RecordingOs
from tests.store_runs import batch_of, start_payload

SIZES = [k % 4 * 12 for k in range(40)]
SETTINGS = LogSettings(sync_s=3600.0, rotate_s=3600.0, rotate_bytes=24_000)
SEED = 20261123


@dataclass
class Promises:
    """What the log has acknowledged so far."""

    commit: int = 0
    inputs: list[int] = field(default_factory=list)


@dataclass
class Picture:
    """What a power cut at some moment would leave, and what was promised before it."""

    files: dict[Path, bytes]
    commit: int
    inputs: list[int]


class Camera(RecordingOs):
    """Takes pictures before and after every sync and rename."""

    def __init__(self, root: Path, promises: Promises) -> None:
        super().__init__(root)
        self._promises, self._rng = promises, random.Random(SEED)
        self.pictures: list[Picture] = []

    def __getattribute__(self, name: str) -> Any:  # Any: whatever `os` has
        if name in ("fdatasync", "fsync", "replace"):
            self.take()
        return super().__getattribute__(name)

    def take(self) -> None:
        """One more picture; what was promised is read first, for a promise can only be early."""
        commit, inputs = self._promises.commit, list(self._promises.inputs)
        with self.lock:
            self.pictures.append(Picture(self.image(self._rng), commit, inputs))


def write(folder: Path, promises: Promises, first: int, last: int) -> None:
    """Batches first to last with an input before each, synced before it is promised."""

    def durable(number: int) -> None:
        promises.commit = number

    if first:
        writer, _ = LogWriter.resume(folder, SETTINGS, durable, time.monotonic)
    else:
        writer = LogWriter(folder, SETTINGS, durable, time.monotonic)
        writer.external(Kind.RUN_START, start_payload(7))
    with writer:
        for k in range(first, last):
            writer.external(Kind.INPUT, b'{"n": %d}' % k)
            if k % 3 == 0:
                writer.sync()
                promises.inputs.append(k)
            writer.commit(batch_of(SIZES, k), b"%d" % k)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    root = tmp_path_factory.mktemp("disk")
    folder = root / "run_000007"
    folder.mkdir()
    promises = Promises()
    camera = Camera(root, promises)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "os", camera)
        write(folder, promises, 0, 25)
        write(folder, promises, 25, len(SIZES))
    return camera.pictures


def test_nothing_promised_is_lost_nothing_is_twice_or_wrong(
    pictures: list[Picture], tmp_path: Path
) -> None:
    assert len(pictures) > 40
    assert pictures[-1].commit > 35
    for number, picture in enumerate(pictures):
        folder = develop(picture, tmp_path / str(number))
        if picture.commit or picture.inputs or names.logs(folder):
            check(folder, picture)


def test_the_run_goes_on_after_any_power_cut(pictures: list[Picture], tmp_path: Path) -> None:
    for number, picture in enumerate(pictures[::7]):
        folder = develop(picture, tmp_path / str(number))
        if not names.logs(folder):
            with pytest.raises(StorageError):
                recover(folder)
            continue
        done = recover(folder).next_commit - 1
        write(folder, Promises(), max(1, done), len(SIZES))
        if done:
            records = open_run(folder).records("C11")[0]["record"]
            assert records.tolist() == list(range(sum(SIZES)))


def test_recovery_brings_out_what_was_promised_and_twice_the_same(
    pictures: list[Picture], tmp_path: Path
) -> None:
    chosen = [picture for picture in pictures if picture.commit][::18]
    assert len(chosen) > 3
    for number, picture in enumerate(chosen):
        folder, twin = (develop(picture, tmp_path / f"{number}{which}") for which in "ab")
        found = recover_run(folder)
        assert found.problems == []
        assert found.records["C11"] >= sum(SIZES[: picture.commit])
        check_inputs(folder, picture)
        recover_run(twin)
        assert tree(folder) == tree(twin)


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def develop(picture: Picture, root: Path) -> Path:
    for path, content in picture.files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root / "run_000007"


def check(folder: Path, picture: Picture) -> None:
    found = recover(folder)
    done = found.next_commit - 1
    assert done >= picture.commit
    assert found.checkpoint == (b"%d" % (done - 1) if done else None)
    run = open_run(folder)
    for channel in range(2):
        name = ("C11", "SI")[channel]
        table, samples = run.records(name)
        assert table["record"].tolist() == list(range(sum(SIZES[:done])))
        expected = [r for k in range(done) if SIZES[k] for r in [batch_of(SIZES, k)]]
        assert samples[:].tobytes() == b"".join(
            batch.records[channel].samples.tobytes() for batch in expected
        )
    check_inputs(folder, picture)


def check_inputs(folder: Path, picture: Picture) -> None:
    inputs = [entry["n"] for entry in open_run(folder).inputs()]
    assert inputs == sorted(set(inputs))
    assert set(picture.inputs) <= set(inputs)
