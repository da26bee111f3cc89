"""`scheelite levels`: thresholds by the noise of a run, into the config with its comments."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
from typer.testing import CliRunner

from daq.errors import CheckError, UsageError
from daq.model.channel import TriggerSettings
from daq.services.cli import app
from daq.services.levels import Wanted, levels
from daq.settings.loader import load
from tests.offline import channel, record

RATE_HZ = 2500.0
SIGMAS = {"A": 5.0, "B": 6.0, "C": 50.0}
CONFIG = """\
[experiment]
name = "t"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:5999"
[kinds.k]   # the one
record_length = 512
pretrigger = 128
triggers = [
    { kind = "level", threshold = 900.0, rearm = 800.0 },  # mine
    { kind = "random", rate_hz = 1.0 },
]
[channels]
A = { kind = "k", digitizer = "d", input = 0 }
B = { kind = "k", digitizer = "d", input = 1 }  # noisier
C = { kind = "k", digitizer = "d", input = 2 }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rng = np.random.default_rng(8)
    n = round(100 * RATE_HZ)
    x = np.stack([rng.normal(100, sigma, n) for sigma in SIGMAS.values()])
    triggers = (
        TriggerSettings(kind="level", threshold=900.0, rearm=800.0),
        TriggerSettings(kind="random", rate_hz=1.0),
    )
    channels = [channel(n, i, RATE_HZ, triggers=triggers) for i, n in enumerate(SIGMAS)]
    return record(tmp_path_factory.mktemp("noise"), channels, np.rint(x).astype(np.int16)).folder


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    return path


def test_thresholds_are_sigmas_above_the_baseline_and_the_noise_is_rices(config, run):
    found = {one.channel: one for one in levels(load(config), run, Wanted(sigmas=5))}
    for name, sigma in SIGMAS.items():
        assert found[name].threshold == pytest.approx(100 + 5 * sigma, rel=0.02)
        # white noise crosses its mean upward at a quarter of its samples
        assert found[name].noise_hz == pytest.approx(RATE_HZ / 4 * np.exp(-12.5), rel=0.05)
    assert [n for n, one in found.items() if one.hyperactive] == ["C"]


def test_an_allowed_noise_rate_gives_the_threshold_that_has_it(config, run):
    one = levels(load(config), run, Wanted(noise_hz=1.0))[0]
    assert one.noise_hz == pytest.approx(1.0)
    assert one.threshold == pytest.approx(100 + 5 * np.sqrt(2 * np.log(RATE_HZ / 4)), rel=0.02)


def test_the_config_is_written_with_its_comments_and_the_noisy_channel_is_out(config, run):
    command = ["levels", str(config), str(run), "--sigmas", "5", "--write", "--disable", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["hyperactive"] == ["C"]
    text = config.read_text()
    for comment in ("# the one", "# mine", "# noisier"):
        assert comment in text
    trigger = tomllib.loads(text)["kinds"]["k"]["triggers"][0]
    assert trigger["threshold"] == pytest.approx(130, rel=0.02)  # of B
    assert trigger["rearm"] == pytest.approx(115, rel=0.02)
    assert load(config).channel_names == ("A", "B")
    again = CliRunner().invoke(app, [*command[:5], "--write"])
    assert "hyperactive" in again.output
    assert load(config).channel_names == ("A", "B")  # who was disabled stays so


def test_without_write_nothing_is_written(config, run):
    result = CliRunner().invoke(app, ["levels", str(config), str(run), "--sigmas", "5"])
    assert "noise /day" in result.output
    assert config.read_text() == CONFIG


def test_what_makes_no_threshold_is_refused(config, run, tmp_path):
    with pytest.raises(UsageError, match="in sigmas or by a noise rate, found both or none"):
        levels(load(config), run, Wanted())
    with pytest.raises(UsageError, match=r"expected a noise rate above 0 and below 6.* Hz"):
        levels(load(config), run, Wanted(noise_hz=1e6))
    empty = record(tmp_path, [channel("A", 0, RATE_HZ)], np.zeros((1, 2500), np.int16), number=2)
    with pytest.raises(CheckError, match="expected channels with 20 random records"):
        levels(load(config), empty.folder, Wanted(sigmas=5))
