"""Copies of sealed files in a second place, with proof, and what may then go here.

A file counts as copied when its sum, read back at the other place, is that of the file here; the
run's `copies.json` remembers it. Nothing here is deleted before every file of a complete run was
proven once more. Only sealed files are touched: nobody writes to them, and nobody ever waits.
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from daq.errors import FormatError, StorageError
from daq.store import disk, names

DAY_NS = 86_400 * 10**9
TIMEOUT_S = 3600.0  # of one command
JOURNAL = "copies.json"


class Place(Protocol):
    """Where copies go."""

    name: str

    def copy(self, source: Path) -> None:
        """Bring a file there; StorageError where that fails."""
        ...

    def sha256(self, source: Path) -> str:
        """The sum of what lies there of a file, read there; "" where there is nothing."""
        ...


class FolderPlace:
    """A folder, as of another disk; it must be there, or a disk that is not mounted were filled."""

    def __init__(self, folder: Path) -> None:
        self.name, self._folder = str(folder), folder

    def copy(self, source: Path) -> None:
        """Write, sync and name it."""
        if not self._folder.is_dir():
            raise StorageError(f"{self._folder}: expected a folder for copies, found none")
        target = self._of(source)
        with disk.naming("copy to", target):
            target.parent.mkdir(exist_ok=True)
            disk.publish(target, source.read_bytes(), mode=source.stat().st_mode & 0o777)

    def sha256(self, source: Path) -> str:
        """Read from the disk there."""
        target = self._of(source)
        return sha256_of(target) if target.is_file() else ""

    def _of(self, source: Path) -> Path:
        return self._folder / source.parent.name / source.name


class CommandPlace:
    """Wherever a command such as rsync brings it; `proof` prints the sum of what lies there.

    {source}, {run} and {name} stand for the file's path, its run folder's name and its own name.
    """

    def __init__(self, command: str, proof: str, timeout_s: float = TIMEOUT_S) -> None:
        self.name, self._command, self._proof = command, command, proof
        self._timeout_s = timeout_s

    def copy(self, source: Path) -> None:
        """Run the command."""
        self._run(self._command, source)

    def sha256(self, source: Path) -> str:
        """The first word that the proof prints."""
        return (self._run(self._proof, source).split() or [""])[0]

    def _run(self, template: str, source: Path) -> str:
        words = [_filled(word, source) for word in shlex.split(template)]
        said = f"cannot copy {source}: {shlex.join(words)}"
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=self._timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise StorageError(f"{said}: no end within {self._timeout_s:g} s") from error
        except OSError as error:
            raise StorageError(f"{said}: {error.strerror}") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise StorageError(f"{said}: {last}")
        return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long complete and copied runs stay here; None for ever."""

    keep_days: float | None = None
    keep_bytes: int | None = None


class Proof(msgspec.Struct, frozen=True):
    """What was proven of a file, and the file that it was proven of."""

    sha256: str
    bytes: int
    mtime_ns: int


class Copies:
    """The copies of all runs below `data_dir`; `problems` has a sentence for each that failed."""

    def __init__(
        self, data_dir: Path, place: Place, retention: Retention, now_ns: Callable[[], int]
    ) -> None:
        self._data_dir, self._place, self._retention = data_dir, place, retention
        self._now_ns = now_ns
        self.problems: dict[str, str] = {}

    def steps(self) -> Iterator[str]:
        """Copy what is not copied yet and drop what need not stay, file by file: what was done."""
        self.problems = {}
        for folder in names.run_folders(self._data_dir).values():
            try:
                yield from self._copied(folder)
            except (StorageError, FormatError) as error:
                self.problems[folder.name] = str(error)
        for folder in self._expired():
            try:
                yield from self._dropped(folder)
            except (StorageError, FormatError) as error:
                self.problems[folder.name] = str(error)

    def waiting(self) -> int:
        """Files that are sealed and not copied yet."""
        runs = names.run_folders(self._data_dir).values()
        return sum(1 for folder in runs for _ in self._left(folder, read_journal(folder)))

    def _left(self, folder: Path, proofs: dict[str, Proof]) -> Iterator[Path]:
        return (path for path in sealed(folder) if not _is_of(proofs.get(path.name), path))

    def _copied(self, folder: Path) -> Iterator[str]:
        proofs = read_journal(folder)
        for path in list(self._left(folder, proofs)):
            before = path.stat()
            expected = sha256_of(path)
            if self._place.sha256(path) != expected:
                self._place.copy(path)
            self._prove(path, expected)
            proofs[path.name] = Proof(expected, before.st_size, before.st_mtime_ns)
            disk.publish(folder / JOURNAL, msgspec.json.format(msgspec.json.encode(proofs)))
            yield f"copied {folder.name}/{path.name}"

    def _prove(self, path: Path, expected: str) -> None:
        found = self._place.sha256(path)
        if found != expected:
            raise StorageError(
                f"the copy of {path} in {self._place.name}: expected SHA-256 {expected}, "
                f"found {found or 'nothing'}"
            )

    def _expired(self) -> list[Path]:
        """Complete, copied runs that are too old or, the oldest first, too much."""
        folders = [f for f in names.run_folders(self._data_dir).values() if self._may_go(f)]
        sizes = {folder: sum(path.stat().st_size for path in bulk(folder)) for folder in folders}
        days, most = self._retention.keep_days, self._retention.keep_bytes
        total, gone = sum(sizes.values()), []
        for folder in folders:
            age_ns = self._now_ns() - names.complete_path(folder).stat().st_mtime_ns
            if (days is not None and age_ns > days * DAY_NS) or (most is not None and total > most):
                gone.append(folder)
                total -= sizes[folder]
        return gone

    def _may_go(self, folder: Path) -> bool:
        if not names.complete_path(folder).exists() or not any(bulk(folder)):
            return False
        return folder.name not in self.problems and not any(
            self._left(folder, read_journal(folder))
        )

    def _dropped(self, folder: Path) -> Iterator[str]:
        """Delete what holds the data here; what says what it was, and where it is, stays."""
        proofs = read_journal(folder)
        for path in bulk(folder):
            self._prove(path, proofs[path.name].sha256)
        for path in bulk(folder):
            with disk.naming("delete", path):
                disk.remove(path)
            yield f"deleted {folder.name}/{path.name}, it is in {self._place.name}"


def sealed(folder: Path) -> list[Path]:
    """The files of a run that will not change any more; of a complete run all, its marker last."""
    found = [*names.segments(folder).values(), *names.restricted(folder).values()]
    if names.complete_path(folder).exists():
        rest = (names.master_path(folder), names.manifest_path(folder), names.complete_path(folder))
        found += [*names.filters(folder), *(path for path in rest if path.exists())]
    return found


def bulk(folder: Path) -> list[Path]:
    """The files that hold the data of a run."""
    master = names.master_path(folder)
    data = [*names.segments(folder).values(), *names.restricted(folder).values()]
    return [*data, *([master] if master.exists() else [])]


def read_journal(folder: Path) -> dict[str, Proof]:
    """What was proven of a run's files, by name."""
    path = folder / JOURNAL
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Proof])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected the proofs of copies: {error}") from error


def sha256_of(path: Path) -> str:
    """The sum of a file."""
    with disk.naming("read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_of(proof: Proof | None, path: Path) -> bool:
    """Whether a proof is of the file as it is now."""
    stat = path.stat()
    return proof is not None and (proof.bytes, proof.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def _filled(word: str, source: Path) -> str:
    values = {"source": str(source), "run": source.parent.name, "name": source.name}
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word
