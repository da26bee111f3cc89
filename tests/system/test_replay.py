"""Recorded pulses through the real sockets and pipeline, against what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from daq.store.reader import open_run
from daq.store.verify import verify
from sim_hardware.ljh import LjhFile, read_ljh, write_ljh
from tests.recorded import pulses
from tests.system.chain import cli, cli_json

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "xray_chan1.ljh").exists(), reason="../shared/data is not beside the checkout"
)


def equal_where_they_overlap(told: dict, channel: str, file: LjhFile) -> int:
    """Compare every record with its source record; how many samples were compared.

    A new record is cut at its trigger, its source at the header's: they lie a few samples apart.
    Beyond the sources there are the extra records, which come after the one that holds them.
    """
    compared, source = 0, 0
    with open_run(Path(told["run"])) as run:
        offset = next(c.counts_offset for c in run.channels if c.name == channel)
        _, samples = run.records(channel)
        for record in samples[:]:
            new = record.astype(np.int64) + offset
            shift = best_shift(new, file.samples[source].astype(np.int64))
            if shift is not None:
                compared += overlap(new, file.samples[source].astype(np.int64), shift).size
                source += 1
        assert source == file.n_records
        assert len(samples) - source == len(told["extra"])
    return compared


def overlap(new: np.ndarray, source: np.ndarray, shift: int) -> np.ndarray:
    """new[j] - source[j + shift] wherever both are."""
    a, b = max(0, -shift), min(len(new), len(source) - shift)
    return new[a:b] - source[a + shift : b + shift]


def best_shift(new: np.ndarray, source: np.ndarray) -> int | None:
    """The shift of at most 8 samples at which both agree wherever the source was used."""
    for shift in range(-8, 9):
        if (
            np.count_nonzero(overlap(new, source, shift)) <= 64
        ):  # an overlap goes to the earlier record
            return shift
    return None


def test_a_small_recording_comes_back_sample_for_sample(runtime, tmp_path):
    path = tmp_path / "small.ljh"
    file = pulses()
    write_ljh(path, file)
    told = cli_json("replay", path, "--out", tmp_path / "runs")
    assert told["found"] == {"small": file.n_records}
    assert told["missed"] == []
    assert told["gaps"] == 0
    assert verify(Path(told["run"])).problems == []
    assert equal_where_they_overlap(told, "small", file) > 0.9 * file.samples.size


@pytest.mark.soak  # too long for the gate
def test_several_files_are_several_channels(runtime, tmp_path):
    paths = [tmp_path / "one.ljh", tmp_path / "two.ljh"]
    for path in paths:
        write_ljh(path, pulses())
    told = cli_json("replay", *paths, "--out", tmp_path / "runs", "--rate", 20)
    assert set(told["records"]) == {"one", "two"}
    assert told["found"] == {
        "one": read_ljh(paths[0]).n_records,
        "two": read_ljh(paths[1]).n_records,
    }


def test_a_truncated_recording_is_refused_with_what_is_left_over(runtime, tmp_path):
    path = tmp_path / "cut.ljh"
    write_ljh(path, pulses())
    path.write_bytes(path.read_bytes()[:-7])
    done = cli("replay", path, "--out", tmp_path / "runs")
    assert done.returncode == 2
    assert "cut.ljh" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_noise_file_for_each_or_none(runtime, tmp_path):
    done = cli("replay", tmp_path / "a", tmp_path / "b", "--noise", tmp_path / "n")
    assert done.returncode == 2
    assert "a --noise for each of 2 files, found 1" in done.stderr


@needs_data
@pytest.mark.parametrize(
    "noise",
    [pytest.param([], marks=pytest.mark.soak), ["--noise", DATA / "xray_noise_chan1.ljh"]],
)
def test_every_recorded_x_ray_is_found_once_and_only_what_the_data_hold_beyond(
    runtime, tmp_path, noise
):
    told = cli_json("replay", DATA / "xray_chan1.ljh", *noise, "--out", tmp_path)
    assert told["found"] == {"xray_chan1": 300}
    assert told["records"] == {"xray_chan1": 301}
    assert [(e["record"], e["sample"]) for e in told["extra"]] == [(129, 564)]
    assert told["extra"][0]["height"] > 5000
    file = read_ljh(DATA / "xray_chan1.ljh")
    assert equal_where_they_overlap(told, "xray_chan1", file) > 0.9 * file.samples.size
    assert verify(Path(told["run"])).problems == []
    json.dumps(told)
