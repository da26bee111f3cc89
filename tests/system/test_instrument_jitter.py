"""A hung instrument delays no other one, seen in what the service delivers."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from daq.wire import codec, sockets
from daq.wire.schemas import Reply, Request
from tests.line_server import Deed, LineServer
from tests.served_bench import serving

pytestmark = pytest.mark.alone


WAIT_S = 60.0
POLL_S, N_POLLS = 0.1, 40
# a quarter of the timeout that each exchange with a hung instrument takes (1 s); on a machine that
# others use as well, where 10 ms were measured
LATEST_S = 0.25
CONFIG = """
[experiment]
name = "jitter"
[kinds.target]
record_length = 1024
pretrigger = 256
triggers = [{{ kind = "level", threshold = 40.0, rearm = 20.0, holdoff = 512 }}]
[digitizers.targets]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:5601"
[channels]
C1 = {{ kind = "target", digitizer = "targets", input = 0 }}
[instruments.well]
model = "keysight33500b"
resource = "{well}"
poll_s = {poll_s}
"""
HUNG = """
[instruments.hung{n}]
model = "lakeshore372"
resource = "{resource}"
poll_s = {poll_s}
channels = [6]
"""


@pytest.fixture
def well(tmp_path):
    with serving({"well": "keysight33500b"}, tmp_path) as resources:
        yield resources["well"]


@pytest.fixture
def hung():
    """Accepts, and never answers."""
    server = LineServer(lambda line: Deed.SILENCE)
    yield server
    server.close()


@contextlib.contextmanager
def delivered(config, runtime):
    """The rows that the service delivers, as they come, to us in the place of the core."""
    command = [sys.executable, "-m", "drivers", "instruments", str(config)]
    with (
        contextlib.closing(sockets.serve_requests(f"ipc://{runtime}/core.commands")) as core,
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service,
    ):
        yield rows(core)
        service.send_signal(signal.SIGTERM)
        assert service.wait(WAIT_S) == 0


def rows(core):
    deadline, n_rows = time.monotonic() + WAIT_S, 0
    while time.monotonic() < deadline:
        assert core.poll(1000 * WAIT_S)
        peer, header = sockets.receive(core)
        request = codec.decode(header, Request)
        n_rows += len(request.arguments["rows"])
        reply = Reply(id=request.id, result={"taken": n_rows})
        assert sockets.offer(core, peer, codec.encode(reply))
        yield from request.arguments["rows"]
    pytest.fail(f"waited {WAIT_S:g} s for readings")


def read_at(config, runtime):
    """Times at which one parameter of the instrument that is well was read [s]."""
    found = []
    with delivered(config, runtime) as stream:
        for row in stream:
            t_ns, instrument, name, *_ = row
            if (instrument, name) == ("well", "output 1.frequency"):
                found.append(t_ns)
            if len(found) > N_POLLS:
                break
    return np.array(found) * 1e-9


def jitter(times):
    """How far each interval is from the one that was ordered [s]; the first poll reads more."""
    return np.abs(np.diff(times[1:]) - POLL_S)


@pytest.mark.parametrize("n_hung", [0, 3])
def test_a_hung_instrument_delays_no_other_one(runtime, tmp_path, well, hung, n_hung):
    config = tmp_path / "jitter.toml"
    sections = [HUNG.format(n=n, resource=hung.tcp, poll_s=POLL_S) for n in range(n_hung)]
    config.write_text(CONFIG.format(well=well, poll_s=POLL_S) + "".join(sections))
    late = jitter(read_at(config, runtime))
    median, p95 = 1e3 * np.quantile(late, [0.5, 0.95])
    print(f"{n_hung} hung: median {median:.2f}, p95 {p95:.2f}, largest {1e3 * late.max():.1f} ms")
    assert hung.connections >= n_hung
    assert late.max() < LATEST_S
    assert np.median(late) < 0.02
