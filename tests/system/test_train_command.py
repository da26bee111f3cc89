"""`scheelite train` and `scheelite filters show`: from records of a run to a filter file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from daq.acquire.filterset import filters_from_bytes, filters_to_bytes
from daq.errors import CheckError, FormatError, StorageError, UsageError
from daq.services.cli import app
from daq.services.filterfile import read_filters, write_filters
from daq.services.train import Heights, train_runs
from tests import filters as made
from tests.offline import channel, record

RATE_HZ, RMS = 2500.0, 10.0


def stream(seconds: float, seed: int, height: float = 300.0) -> np.ndarray:
    """Noise of `RMS` counts with a pulse each two seconds."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    at = np.arange(2500, n - 2000, 5000) + rng.integers(0, 1000, len(range(2500, n - 2000, 5000)))
    heights = rng.uniform(0.8, 1.2, at.size) * height
    x = made.noise(rng, n, lambda f: made.white(f, RMS, RATE_HZ), RATE_HZ)
    return made.adc(made.with_pulses(x, made.template(2000, 128, RATE_HZ), 128, at, heights))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    samples = np.stack([stream(200, 1), stream(200, 2, height=0.0)])
    channels = [channel("A", 0, RATE_HZ), channel("B", 1, RATE_HZ)]
    return record(tmp_path_factory.mktemp("train"), channels, samples).folder


def test_template_and_noise_of_a_run_are_those_that_made_it(run, tmp_path):
    result = CliRunner().invoke(app, ["train", str(run), "--out", str(tmp_path / "f"), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    one = read_filters(tmp_path / "f")["A"]
    ideal = made.tes_filter(rms=RMS, pretrigger=127)  # it triggers on the pulse's first sample
    # the median of about 90 pulses of 300 counts: 10 * 1.25 / 300 / sqrt(90) = 0.44 %, 5 sigma
    assert np.abs(one.template - ideal.template).max() < 0.022
    low = replace(ideal, low_pass_hz=ideal.affordable_low_pass_hz(0.01))
    assert one.sigma == pytest.approx(low.sigma, rel=0.03)
    assert one.f_rms_hz == pytest.approx(low.f_rms_hz, rel=0.3)
    assert told["filters"][0]["sigma_counts"] == one.sigma
    assert list(told["left_out"]) == ["B"]
    assert "expected 10 pulse records" in told["left_out"]["B"]


def test_the_file_says_where_a_filter_is_from_and_what_was_cut(run):
    one = train_runs([run], "A", Heights())[0].filter
    assert one.provenance["runs"] == "1 of offline"
    assert one.provenance["recorded by"] == "scheelite test"
    assert "kept; cut: saturated 0" in one.provenance["noise"]
    assert "second pulse" in one.provenance["pulses"]


def test_only_pulses_of_the_heights_asked_for_make_the_template(run):
    everyone = train_runs([run], "A", Heights())[0]
    some = train_runs([run], "A", Heights(least=250, most=330))[0]
    assert 10 <= some.pulses.kept.size < everyone.pulses.kept.size
    with pytest.raises(CheckError, match="no channel could be trained: A: expected 10 pulse"):
        train_runs([run], "A", Heights(least=5000))


def test_runs_of_other_records_are_not_mixed(run, tmp_path):
    other = record(
        tmp_path, [channel("A", 0, RATE_HZ, record_length=256)], stream(20, 3)[None], number=2
    )
    with pytest.raises(UsageError, match="run 2: expected record_length 512 of A as in run 1, "):
        train_runs([run, other.folder], None, Heights())
    with pytest.raises(UsageError, match="expected one of the channels A, B, found 'C'"):
        train_runs([run], "C", Heights())


def test_show_lists_what_a_file_promises(run, tmp_path):
    path = tmp_path / "f"
    write_filters(path, {"A": made.tes_filter(counts_per_ev=2.0)})
    result = CliRunner().invoke(app, ["filters", "show", str(path), "--sigmas", "4", "--json"])
    row = json.loads(result.output)["filters"][0]
    one = read_filters(path)["A"]
    assert row["threshold_counts"] == pytest.approx(4 * one.sigma)
    assert row["sigma_ev"] == pytest.approx(one.sigma / 2)
    assert row["noise_per_day"] == pytest.approx(one.f_rms_hz * np.exp(-8) * 86_400)
    plain = CliRunner().invoke(app, ["filters", "show", str(path)], env={"COLUMNS": "200"})
    assert "noise /day" in plain.output


def test_a_damaged_file_is_refused_with_its_place(tmp_path):
    path = tmp_path / "f"
    write_filters(path, {"A": made.tes_filter()})
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(stored)
    with pytest.raises(FormatError, match="f: filter of A: expected the SHA-256"):
        read_filters(path)
    path.write_bytes(b"\x93no")
    with pytest.raises(FormatError, match="f: expected a file of filters, found 3 other bytes"):
        read_filters(path)
    with pytest.raises(FormatError, match="none: expected a file of filters: No such file"):
        read_filters(tmp_path / "none")
    with pytest.raises(StorageError, match="expected to write it"):
        write_filters(tmp_path / "none" / "f", {})


def test_another_version_is_refused():
    stored = filters_to_bytes({}).replace(b"\x01", b"\x02")
    with pytest.raises(FormatError, match=r"expected scheelite\.filters version 1, found .* 2"):
        filters_from_bytes(stored)
