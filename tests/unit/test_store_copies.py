"""Copies: proven at the other place, made again where they are wrong; then files may go."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from daq.errors import SettingsError
from daq.services.copying import copies_of
from daq.settings.loader import parse
from daq.store import disk, names
from daq.store.copies import (
    DAY_NS,
    JOURNAL,
    CommandPlace,
    Copies,
    FolderPlace,
    Retention,
    read_journal,
)
from daq.store.folder import Folder
from daq.store.log import LogSettings
from daq.store.verify import verify
from tests.store_runs import SIZES_CHECKED, record_run
from tests.unit.test_store_compression import CONFIG

DONE_NS = 1_790_000_000 * 10**9  # when the runs became complete


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two complete runs."""
    for run in (7, 8):
        record_run(tmp_path / "runs" / f"run_{run:06d}", SIZES_CHECKED, LogSettings())
    Folder(tmp_path / "runs", time.time_ns).fold()
    for run in names.run_folders(tmp_path / "runs").values():
        os.utime(names.complete_path(run), ns=(DONE_NS, DONE_NS))
    (tmp_path / "there").mkdir()
    return tmp_path / "runs"


def copies(
    data: Path, *, now_ns: int = DONE_NS, days: float | None = None, most: int | None = None
) -> Copies:
    place = FolderPlace(data.parent / "there")
    return Copies(data, place, Retention(keep_days=days, keep_bytes=most), lambda: now_ns)


def run_of(data: Path, run: int) -> Path:
    return names.run_folder(data, run)


def test_every_sealed_file_is_copied_once_and_the_copy_is_a_whole_run(data: Path) -> None:
    copying = copies(data)
    assert copying.waiting() == 8
    done = list(copying.steps())
    assert len(done) == 8
    assert (copying.problems, copying.waiting(), list(copying.steps())) == ({}, 0, [])
    there = data.parent / "there" / "run_000007"
    assert verify(there).ok
    assert sorted(p.name for p in there.iterdir()) == sorted(read_journal(run_of(data, 7)))


def test_the_filters_that_a_run_triggered_by_are_copied_with_it(data: Path) -> None:
    path = names.filters_path(run_of(data, 7), "0123456789abcdef" * 4)
    path.write_bytes(b"filters")
    copying = copies(data)
    assert "copied run_000007/filters-0123456789abcdef" in list(copying.steps())
    assert (data.parent / "there" / "run_000007" / path.name).read_bytes() == b"filters"


def test_restricted_files_are_copied_for_their_owner_alone(data: Path) -> None:
    path = names.restricted_path(run_of(data, 7), 1)
    disk.publish(path, b"blinded", mode=disk.OWNER)
    copying = copies(data, now_ns=DONE_NS + 2 * DAY_NS, days=1.0)
    done = list(copying.steps())
    assert "copied run_000007/restricted_000001.h5" in done
    there = data.parent / "there" / "run_000007" / path.name
    assert there.read_bytes() == b"blinded"
    assert there.stat().st_mode & 0o777 == 0o600
    assert "deleted run_000007/restricted_000001.h5, it is in" in " ".join(done)


def test_of_a_run_being_recorded_only_sealed_segments_are_copied(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    record_run(tmp_path / "runs" / "run_000007", SIZES_CHECKED, LogSettings(rotate_bytes=5000))
    next(Folder(tmp_path / "runs", time.time_ns).steps())
    assert list(copies(tmp_path / "runs").steps()) == ["copied run_000007/segment_000001.h5"]


def test_a_copy_that_is_not_what_is_here_is_made_again(data: Path) -> None:
    there = data.parent / "there" / "run_000007"
    list(copies(data).steps())
    (there / "segment_000001.h5").write_bytes(b"rotten")
    (run_of(data, 7) / JOURNAL).unlink()
    list(copies(data).steps())
    assert verify(there).ok


def test_a_copy_that_cannot_be_proven_is_a_problem_and_not_remembered(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderPlace, "copy", lambda *_: None)
    copying = copies(data)
    assert list(copying.steps()) == []
    assert "segment_000001.h5 in " in copying.problems["run_000007"]
    assert "found nothing" in copying.problems["run_000007"]
    assert read_journal(run_of(data, 7)) == {}
    assert copying.waiting() == 8


def test_a_full_or_missing_place_is_named_and_tried_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    copying = copies(data)
    with monkeypatch.context() as patch:
        patch.setattr(disk, "append", full)
        list(copying.steps())
    assert "No space left on device" in copying.problems["run_000008"]
    shutil.rmtree(data.parent / "there")
    list(copying.steps())
    assert "expected a folder for copies, found none" in copying.problems["run_000007"]
    (data.parent / "there").mkdir()
    assert len(list(copying.steps())) == 8


def test_what_changed_here_is_copied_again(data: Path) -> None:
    list(copies(data).steps())
    path = names.manifest_path(run_of(data, 7))
    path.write_bytes(path.read_bytes() + b"\n")
    assert list(copies(data).steps()) == ["copied run_000007/manifest.json"]


def test_nothing_is_deleted_without_a_rule(data: Path) -> None:
    list(copies(data, now_ns=DONE_NS + 1000 * DAY_NS).steps())
    assert names.segments(run_of(data, 7))


def test_after_its_days_a_proven_run_goes_and_tells_where_it_is(data: Path) -> None:
    list(copies(data, days=3).steps())
    assert names.segments(run_of(data, 7))
    done = list(copies(data, days=3, now_ns=DONE_NS + 4 * DAY_NS).steps())
    assert done[0] == f"deleted run_000007/segment_000001.h5, it is in {data.parent / 'there'}"
    left = sorted(path.name for path in run_of(data, 7).iterdir())
    assert left == ["complete", "copies.json", "manifest.json"]
    assert verify(data.parent / "there" / "run_000007").ok
    assert list(copies(data, days=3, now_ns=DONE_NS + 5 * DAY_NS).steps()) == []


def test_beyond_its_bytes_the_oldest_goes_first(data: Path) -> None:
    size = sum(path.stat().st_size for path in run_of(data, 8).glob("*.h5"))
    list(copies(data, most=size + 10).steps())
    assert not names.segments(run_of(data, 7))
    assert names.segments(run_of(data, 8))


def test_a_run_whose_copy_is_gone_or_rotten_stays(data: Path) -> None:
    list(copies(data).steps())
    there = data.parent / "there"
    (there / "run_000007" / "segment_000001.h5").write_bytes(b"rotten")
    (there / "run_000008" / "run_000008.h5").unlink()
    copying = copies(data, days=3, now_ns=DONE_NS + 4 * DAY_NS)
    assert list(copying.steps()) == []
    assert set(copying.problems) == {"run_000007", "run_000008"}
    assert names.segments(run_of(data, 7))
    assert names.segments(run_of(data, 8))


# --- by command ---


def by_command(data: Path, command: str, proof: str) -> Copies:
    place = CommandPlace(command, proof, timeout_s=20.0)
    return Copies(data, place, Retention(), lambda: DONE_NS)


def test_a_command_copies_and_another_one_proves(data: Path) -> None:
    there = data.parent / "there"
    copying = by_command(data, f"cp {{source}} '{there}/{{run}}-{{name}}'", "echo none")
    assert list(copying.steps()) == []
    assert "found none" in copying.problems["run_000007"]
    proof = (
        f"sh -c 'test -e {there}/{{run}}-{{name}} && sha256sum {there}/{{run}}-{{name}} || true'"
    )
    copying = by_command(data, f"cp {{source}} '{there}/{{run}}-{{name}}'", proof)
    assert len(list(copying.steps())) == 8
    assert copying.problems == {}
    assert (there / "run_000007-segment_000001.h5").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("false", "false: exit code 1"),
        ("no-such-command {source}", "No such file or directory"),
        ("sh -c 'echo no route >&2; exit 3'", "no route"),
    ],
)
def test_a_command_that_fails_is_named_with_its_last_words(
    data: Path, command: str, words: str
) -> None:
    copying = by_command(data, command, "echo")
    list(copying.steps())
    assert words in copying.problems["run_000007"]


# --- by config ---


def config(lines: str) -> str:
    return CONFIG.format("gzip").replace(
        "[digitizers.d]", f"[storage.copy]\n{lines}\n[digitizers.d]"
    )


def test_a_config_asks_for_copies(tmp_path: Path) -> None:
    assert copies_of(parse(CONFIG.format("gzip"), Path("t.toml"))) is None
    assert copies_of(parse(config('to = "/mnt/second"\nkeep_days = 30.0'), Path("t.toml")))
    rsync = 'command = "rsync -a {source} host:{run}/"\nproof = "ssh host sha256sum {run}/{name}"'
    assert copies_of(parse(config(rsync), Path("t.toml")))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("keep_days = 30.0", "storage.copy: expected either to or command, found both or none"),
        ('to = "/a"\ncommand = "b"\nproof = "c"', "expected either to or command, found both"),
        ('command = "rsync"', "storage.copy: expected a proof for the command, found none"),
        ('to = "/a"\nkeep_days = -1.0', "storage.copy.keep_days: input should be greater than 0"),
    ],
)
def test_copies_that_make_no_sense_are_refused(lines: str, words: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        parse(config(lines), Path("t.toml"))
    assert words in str(refusal.value)
