"""The layout of run files: as documented, as the file itself says it, as other tools see it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from daq.store import layout, names
from daq.store.folder import Folder
from daq.store.frames import HEADER, Kind
from daq.store.reader import open_run
from tests.store_runs import LENGTHS, SIZES_CHECKED, record_run

DOCUMENT = Path(__file__).parents[2] / "docs" / "file-format.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run with the number of the document's example."""
    path = tmp_path_factory.mktemp("runs") / "run_000123"
    record_run(path, SIZES_CHECKED)
    Folder(path.parent, time.time_ns).fold()
    return path


def test_the_document_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.search(r"<!-- layout.*?-->\n\n(.*)<!-- end of layout -->", text, re.DOTALL)
    assert found is not None
    assert found[1] == layout.render()


def test_the_document_names_every_frame_and_the_header_as_it_is() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").split("## The write-ahead log")[1]
    assert all(kind.name in text for kind in Kind)
    assert HEADER.size == 32


def test_the_examples_in_the_document_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, str(DOCUMENT), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["C11", "50", "records,"],
        ["SI", "50", "records,"],
    ]
    assert all(float(line.split()[3]) > 0 for line in lines)


def test_every_column_is_described_in_the_file(folder: Path) -> None:
    for path in (names.segment_path(folder, 1), names.master_path(folder)):
        with h5py.File(path) as file:
            tables = {**layout.FIXED_TABLES, **layout.TABLES}
            tables |= {layout.table_path(name): layout.RECORDS for name in LENGTHS}
            for name, table in tables.items():
                attributes = dict(file[name].attrs)
                assert attributes.pop("meaning") == table.meaning
                assert attributes == layout.field_attributes(table.dtype)
                assert file[name].dtype.names == table.dtype.names
            assert set(layout.ATTRIBUTES) - set(file.attrs) <= set(layout.OPTIONAL)
            assert set(file.attrs) <= set(layout.ATTRIBUTES)
            assert all(file[name].attrs["meaning"] == text for name, text in layout.TEXTS.items())


def test_units_are_attributes_of_their_own() -> None:
    attributes = layout.field_attributes(layout.RECORDS.dtype)
    assert attributes["baseline.meaning"] == "mean of the pretrigger"
    assert attributes["baseline.units"] == "ADC counts"
    assert "cause.units" not in attributes


def test_the_channel_table_says_what_samples_mean(folder: Path) -> None:
    with h5py.File(names.master_path(folder)) as file:
        row = file["channels"][0]
        assert row["name"] == b"C11"
        assert row["record_rate_hz"] == 1e4
        assert (row["record_length"], row["mass_g"], row["volts_per_count"]) == (64, 0.75, 3e-4)
        assert b'"edge_span":24' in row["triggers"]
        window = file["windows"][0]
        assert (window["name"], window["kind"]) == (b"inner", b"veto")
        assert (window["sources"], window["tagged"], window["after_s"]) == (0b10, 0b01, 2e-3)
        assert file["digitizers"]["stop"].tolist() == [61000, 60050]
        assert file["records/C11/samples"].attrs["units"] == "ADC counts"
    with h5py.File(names.segment_path(folder, 1)) as file:
        assert file["records/C11/samples"].fletcher32
        assert file["records/C11/samples"].compression == "gzip"


def test_a_missing_segment_shows_in_the_master_as_values_that_cannot_be(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(names.master_path(folder), tmp_path)
    with h5py.File(tmp_path / names.master_path(folder).name) as file:
        assert np.unique(file["records/C11/samples"][:]).tolist() == [-32768]
        assert np.unique(file["events"]["event"]).tolist() == [-1]


def test_text_survives_as_utf8(folder: Path) -> None:
    with h5py.File(names.master_path(folder)) as file:
        assert file["settings/toml"][()].decode() == open_run(folder).settings_toml
        assert file["messages"]["text"][0].decode() == "über und aus"
        kind = h5py.check_string_dtype(file["messages"].dtype["text"])
        assert (kind.encoding, kind.length) == ("utf-8", 240)


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="HDF5's own tools are not installed")
def test_the_tools_of_hdf5_read_segments_and_master(folder: Path) -> None:
    for path in (names.segment_path(folder, 1), names.master_path(folder)):
        dumped = subprocess.run(
            ["h5dump", "-d", "/records/SI/table", str(path)], capture_output=True, check=True
        )
        assert b"DATASET" in dumped.stdout
