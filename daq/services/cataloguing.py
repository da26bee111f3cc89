"""The catalogue of runs, filled from their files: by run control at each run's end, or all anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from daq.errors import ScheeliteError
from daq.report.show import summary
from daq.store import names
from daq.store.catalogue import Catalogue, ChannelRow, RunRow
from daq.store.reader import open_run

logger = logging.getLogger(__name__)


def row_of(folder: Path) -> RunRow:
    """What the catalogue says of a run; reads its tables, none of its samples."""
    with open_run(folder) as run:
        told = summary(run)
    comments = [r.text for r in told.remarks if r.kind == "comment"]
    labels = [r.text for r in told.remarks if r.kind == "label"]
    return RunRow(
        run=told.run,
        folder=str(folder),
        name=told.name,
        state=told.state,
        reason=told.reason,
        comment=told.comment,
        comments="\n".join(comments),
        labels=" ".join(labels),
        start_ns=_ns(told.start),
        stop_ns=_ns(told.stop),
        records=sum(c.records for c in told.channels),
        events=told.events.events,
        gaps=told.gaps.gaps,
        n_bytes=told.n_bytes,
        exposure_g_d=sum(c.exposure_g_d for c in told.channels),
        software=told.software,
        channels=tuple(
            ChannelRow(
                channel=c.name, records=c.records, live_s=c.live_s, exposure_g_d=c.exposure_g_d
            )
            for c in told.channels
        ),
    )


def rebuild(data_dir: Path) -> tuple[int, list[str]]:
    """Make the catalogue anew from the runs' files: how many, and why others are not in it."""
    problems: list[str] = []
    catalogue = Catalogue(data_dir)
    catalogue.forget()
    return catalogue.replace(_rows(data_dir, problems)), problems


def _rows(data_dir: Path, problems: list[str]) -> Iterator[RunRow]:
    for folder in names.run_folders(data_dir).values():
        try:
            yield row_of(folder)
        except ScheeliteError as error:
            problems.append(str(error))


class Cataloguing:
    """Fills the catalogue at the end of each run, in a thread of its own."""

    def __init__(self, data_dir: Path) -> None:
        self._catalogue = Catalogue(data_dir)
        self._pool = ThreadPoolExecutor(1, "catalogue")
        self.problem = ""

    def ended(self, folder: Path) -> None:
        """A run is complete."""
        self._pool.submit(self._put, folder)

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown()

    def _put(self, folder: Path) -> None:
        try:
            self._catalogue.put([row_of(folder)])
            self.problem = ""
        except ScheeliteError as error:
            self.problem = f"the catalogue of runs lacks {folder.name}: {error}"
            logger.error(self.problem)


def _ns(rfc3339: str) -> int:
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1e6) * 1000
