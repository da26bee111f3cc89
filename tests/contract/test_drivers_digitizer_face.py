"""The Red Pitaya's driver and its face: two readings of one document, over the wire only."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from daq.model.clock import Anchor
from drivers.digitizer.digitizer import Samples
from drivers.digitizer.redpitaya import RedpitayaDigitizer
from drivers.settings import Digitizers

WAIT_S = 10.0
RATE_HZ = 250e3
N_SAMPLES = 300_000  # more than a second, for an anchor


@pytest.fixture(params=[56, 57])
def resource(request, tmp_path):
    """Where a simulated board streams, with headers of both lengths."""
    bench = {
        "seed": 7,
        "digitizers": {
            "board": {
                "model": "redpitaya",
                "port": 0,
                "header_bytes": request.param,
                "sample_rate_hz": RATE_HZ,
                "channels": ["SI", "CWO"],
            }
        },
    }
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench))
    command = [sys.executable, "-m", "sim_hardware", "bench", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield json.loads(process.stdout.readline())["resource"]
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_the_driver_understands_the_face(resource):
    section = {"model": "redpitaya", "resource": resource, "channels": [0, 1], "rate_hz": RATE_HZ}
    settings = Digitizers.model_validate({"board": section}).root["board"]
    digitizer = RedpitayaDigitizer.from_settings("board", settings)
    try:
        facts = digitizer.connect()
        digitizer.start(facts.oldest)
        at, pieces, anchors = 0, [], [facts.anchor]
        while at < N_SAMPLES:
            event = digitizer.read(WAIT_S)
            if isinstance(event, Anchor):
                anchors.append(event)
                continue
            assert isinstance(event, Samples), event
            assert event.start == at
            at = event.stop
            pieces.append(event.samples)
    finally:
        digitizer.close()
    assert facts.rate_hz == RATE_HZ
    samples = np.concatenate(pieces, axis=1).astype(float)
    spread = np.median(np.abs(samples - np.median(samples, axis=1, keepdims=True)), axis=1)
    steps = np.median(np.abs(np.diff(samples, axis=1)), axis=1)
    assert ((spread > 0) & (spread < 100)).all()  # quiet noise, and not bytes out of step
    assert (steps < 100).all()
    first, second = anchors[:2]
    lasted_s = (second.t_ns - first.t_ns) * 1e-9
    assert lasted_s == pytest.approx((second.sample - first.sample) / RATE_HZ, abs=0.5)
