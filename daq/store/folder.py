"""Folding all runs of a data folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from daq.errors import ScheeliteError, StorageError
from daq.store import names
from daq.store.runfold import RunFold


@dataclass(frozen=True, slots=True)
class RunState:
    """How far the files of a run are."""

    segments: int
    bytes: int
    complete: bool


class Folder:
    """The runs below `data_dir`; `problems` has a sentence for each that cannot be folded now."""

    def __init__(self, data_dir: Path, now_ns: Callable[[], int]) -> None:
        self._data_dir, self._now_ns = data_dir, now_ns
        self._runs: dict[int, RunFold] = {}
        self._complete: set[int] = set()
        self.problems: dict[int, str] = {}

    def fold(self) -> list[Path]:
        """Fold all that can be folded now: the files made."""
        return list(self.steps())

    def steps(self) -> Iterator[Path]:
        """The same, file by file, so that the caller can do something else in between."""
        for run in self._look():
            try:
                yield from self._runs[run].steps()
                self.problems.pop(run, None)
            except ScheeliteError as error:
                self.problems[run] = str(error)

    def finish(self, run: int, *, abandoned: bool = False) -> Path:
        """Make a run complete, with `abandoned` also one without an end: its manifest.

        StorageError where it is still written, has no end, or is not there.
        """
        folder = names.run_folder(self._data_dir, run)
        if not folder.is_dir():
            raise StorageError(f"{folder}: expected a run folder, found nothing")
        self._look()
        for _ in self._runs[run].finish(abandoned=abandoned):
            pass
        self.problems.pop(run, None)
        return names.manifest_path(folder)

    def states(self, n_runs: int) -> dict[int, RunState]:
        """How the last `n_runs` runs stand, by number."""
        self._look()
        last = sorted(self._runs)[-n_runs:]
        return {run: _state(self._runs[run], run in self._complete) for run in last}

    @property
    def last_complete(self) -> int | None:
        """The highest number of a complete run."""
        return max(self._complete, default=None)

    def _look(self) -> list[int]:
        """The runs with something left to do; what is complete is not looked at again."""
        self._runs = {
            run: self._runs.get(run) or RunFold(folder, self._now_ns)
            for run, folder in names.run_folders(self._data_dir).items()
        }
        left = [run for run in self._runs if run not in self._complete]
        self._complete.update(run for run in left if self._runs[run].complete)
        return [run for run in left if run not in self._complete]


def _state(run: RunFold, complete: bool) -> RunState:
    sizes = run.sizes()
    return RunState(len(sizes), sum(sizes), complete)
