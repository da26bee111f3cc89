"""A recorded file as a digitizer of a config: by its service and the core into a verified run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from daq.services import system
from daq.services.take import take_run
from daq.settings.loader import load
from daq.store.reader import open_run
from daq.store.verify import verify
from drivers.digitizer.digitizer import Samples
from drivers.digitizer.ljh_recording import LjhRecording
from sim_hardware.ljh import LjhFile, read_ljh, write_ljh
from tests.recorded import REAL, pulses, real
from tests.system.chain import cli

CONFIG = """
[experiment]
name = "recorded"
data_dir = "{runs}"
[digitizers.tape]
model = "file-replay"
resource = "{file}"
n_channels = {n_channels}
buffer_s = 1.0  # shorter than the gaps between records
[kinds.k]
record_length = {length}
pretrigger = {pretrigger}
triggers = [{{ kind = "edge", edge_span = 8, threshold = 900, rearm = 450, holdoff = {length} }}]
[channels]
A = {{ kind = "k", digitizer = "tape", input = 0, counts_offset = 32768 }}
"""


def config_for(
    folder: Path, file: Path, *, length: int, pretrigger: int, n_channels: int = 1
) -> Path:
    config = folder / "tape.toml"
    config.write_text(
        CONFIG.format(
            runs=folder / "runs",
            file=file,
            length=length,
            pretrigger=pretrigger,
            n_channels=n_channels,
        )
    )
    return config


def check_run(folder: Path, source: LjhFile, n_gaps: int) -> None:
    """Each recorded pulse is a record of the run, with the recorded samples; the rest is gaps."""
    with open_run(folder) as run:
        table, samples = run.records("A")
        pretrigger = run.channels[0].pretrigger
        starts = table["trigger"].astype(np.int64) - pretrigger
        found = [matching(row.astype(np.int64) + 32768, source) for row in samples[:]]
        assert sorted(set(found)) == list(range(source.n_records))
        assert (np.diff(starts) > 0).all()
        gaps = run.gaps()
        assert len(gaps) == n_gaps
        assert set(gaps["cause"].tolist()) == {b"unrecorded"}
        assert run.ledger()["gap"].sum() == (gaps["stop"] - gaps["start"]).sum()
    assert verify(folder).problems == []


def matching(counts: np.ndarray, source: LjhFile) -> int:
    """The record that holds these counts, sample for sample."""
    for k, record in enumerate(source.samples):
        for at in np.flatnonzero(record[: len(record) - len(counts) + 1] == counts[0]):
            if np.array_equal(record[at : at + len(counts)], counts):
                return k
    raise AssertionError("a record that nobody recorded")


def run_of(config: Path) -> Path:
    settings = load(config)
    with system.running(settings):
        outcome = take_run(settings, None, 1.0, "a file", Console(quiet=True))
    assert outcome.failure is None
    return outcome.run


def test_a_recorded_file_in_a_config_becomes_a_run(runtime, tmp_path):
    source = pulses(12, mean_distance_us=4_000_000.0, version="2.1.0")
    write_ljh(tmp_path / "made.ljh", source)
    config = config_for(tmp_path, tmp_path / "made.ljh", length=256, pretrigger=64)
    check_run(run_of(config), source, n_gaps=11)


def test_real_pulses_in_a_config_become_a_run(runtime, tmp_path):
    source = real("xray_chan1.ljh")
    config = config_for(tmp_path, REAL / "xray_chan1.ljh", length=400, pretrigger=128)
    check_run(run_of(config), source, n_gaps=299)


def make_ljh(path: Path) -> None:
    write_ljh(path, pulses(2))


@pytest.mark.parametrize(
    ("make", "n_channels", "said"),
    [
        (lambda path: None, 1, "expected a recording, found: No such file or directory"),
        (lambda path: path.write_bytes(b"PK"), 1, "expected an LJH file or a recorded"),
        (make_ljh, 9, "expected 9 channels in "),
    ],
)
def test_a_useless_file_stops_the_start_with_one_sentence(
    runtime, tmp_path, make, n_channels, said
):
    make(tmp_path / "file")
    config = config_for(
        tmp_path, tmp_path / "file", length=256, pretrigger=64, n_channels=n_channels
    )
    done = cli("up", config)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_both_readers_of_ljh_read_the_same(tmp_path):
    for version in ("2.1.0", "2.2.1"):
        source = pulses(5, version=version)
        write_ljh(tmp_path / "made.ljh", source)
        replay = LjhRecording(tmp_path / "made.ljh")
        events = list(replay.events(0))
        ours = [e.samples[0].astype(int) + 32768 for e in events if isinstance(e, Samples)]
        np.testing.assert_array_equal(ours, read_ljh(tmp_path / "made.ljh").samples)
        assert replay.contents.anchor.t_ns == 1000 * int(source.posix_us[0])
