"""What goes into the log comes out of the file: any batches, wherever it was cut."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from daq.model.batch import Batch, RecordBatch, Rows
from daq.store import names
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.payloads import RECORD_ROW, ROWS
from daq.store.reader import Run, open_run
from tests.store_runs import LENGTHS, end_payload, start_payload

INPUTS = st.dictionaries(st.text(max_size=20), st.text(max_size=900), max_size=4)
TABLES = {
    "events": Kind.EVENTS,
    "members": Kind.MEMBERS,
    "gaps": Kind.GAPS,
    "ledger": Kind.LEDGER,
    "anchors": Kind.ANCHORS,
}
CONTENTS = ["events", "members", "gaps", "ledger", "anchors", "readings", "messages"]


def rows(dtype: np.dtype[np.void], n_max: int = 5) -> st.SearchStrategy[Rows]:
    """Tables of any bytes: no value is special to the store."""
    counts = st.integers(0, n_max)
    return counts.flatmap(lambda n: arrays.arrays(np.uint8, n * dtype.itemsize)).map(
        lambda values: np.frombuffer(values.tobytes(), dtype)
    )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    records = []
    for channel, length in enumerate(LENGTHS.values()):
        table = draw(rows(RECORD_ROW, 3))
        shape = (len(table), length)
        samples = draw(arrays.arrays(np.int16, shape, elements=st.integers(-32768, 32767)))
        records.append(RecordBatch(channel, table, samples))
    tables = {name: draw(rows(ROWS[kind])) for name, kind in TABLES.items()}
    return Batch(records=tuple(records), **tables)


Entry = Batch | dict[str, str] | tuple[Kind, Rows]


def entries() -> st.SearchStrategy[list[Entry]]:
    external = [
        rows(ROWS[kind]).map(lambda table, kind=kind: (kind, table))
        for kind in (Kind.READINGS, Kind.MESSAGES)
    ]
    return st.lists(st.one_of(batches(), INPUTS, *external), max_size=6)


def write(folder: Path, run: list[Entry], rotate_bytes: int) -> None:
    settings = LogSettings(sync_s=3600.0, rotate_bytes=rotate_bytes)
    with LogWriter(folder, settings, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, start_payload(7))
        for entry in run:
            if isinstance(entry, Batch):
                writer.commit(entry, b"")
            elif isinstance(entry, dict):
                writer.external(Kind.INPUT, msgspec.json.encode(entry))
            else:
                writer.external(entry[0], entry[1].tobytes())
        writer.external(Kind.RUN_END, end_payload(1))
        writer.commit(Batch(), b"")


def expected(run: list[Entry]) -> dict[str, bytes]:
    found = dict.fromkeys(CONTENTS, b"")
    for entry in run:
        for name in TABLES if isinstance(entry, Batch) else ():
            found[name] += getattr(entry, name).tobytes()
        if isinstance(entry, tuple):
            found[entry[0].name.lower()] += entry[1].tobytes()
    return found


def records(run: list[Entry], channel: int) -> Iterator[RecordBatch]:
    return (entry.records[channel] for entry in run if isinstance(entry, Batch))


def check(run: list[Entry], found: Run) -> None:
    assert {name: getattr(found, name)().tobytes() for name in CONTENTS} == expected(run)
    assert found.inputs() == [entry for entry in run if isinstance(entry, dict)]
    for channel, name in enumerate(LENGTHS):
        table, samples = found.records(name)
        parts = list(records(run, channel))
        assert table.tobytes() == b"".join(part.table.tobytes() for part in parts)
        assert np.asarray(samples).tobytes() == b"".join(p.samples.tobytes() for p in parts)
        assert found.n_records()[name] == len(samples) == sum(len(p.table) for p in parts)


@settings(max_examples=40)
@given(entries(), st.sampled_from([1, 2000, 1 << 20]))
def test_what_went_into_the_log_comes_out_of_log_and_file(
    run: list[Entry], rotate_bytes: int
) -> None:
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "run_000007"
        folder.mkdir()
        write(folder, run, rotate_bytes)
        check(run, open_run(folder))
        folding = Folder(Path(parent), time.time_ns)
        folding.fold()
        assert folding.problems == {}
        check(run, open_run(folder))
        _master_agrees(folder)


def _master_agrees(folder: Path) -> None:
    """The master's views show what the segments hold."""
    with open_run(folder) as run, h5py.File(names.master_path(folder)) as master:
        assert master["events"][:].tobytes() == run.events().tobytes()
        assert master["readings"][:].tobytes() == run.readings().tobytes()
        for name in LENGTHS:
            table, samples = run.records(name)
            assert master[f"records/{name}/table"][:].tobytes() == table.tobytes()
            assert master[f"records/{name}/samples"][:].tobytes() == samples[:].tobytes()
