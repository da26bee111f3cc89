"""The whole system over TCP with keys, as if its services stood on several machines."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from daq.errors import ServiceTimeoutError
from daq.services import system
from daq.settings.loader import load
from daq.store.verify import verify
from daq.wire import keys, sockets
from tests.system.chain import bench, cli, core, services, until

NAMES = [
    *(f"core.{name}" for name in ("blocks", "commands", "raw", "state", "traces", "pulses")),
    *(f"{s}.{name}" for s in ("folder", "run", "instruments") for name in ("commands", "state")),
    *(f"digitizer.{d}.{n}" for d in ("targets", "vetoes") for n in ("commands", "state")),
]


def free_ports(n: int) -> list[int]:
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [server.getsockname()[1] for server in servers]


def test_a_run_over_guarded_sockets(runtime, tmp_path):
    folder = tmp_path / "keys"
    keys.make_system(folder)
    with bench(tmp_path) as config:
        ports = zip(NAMES, free_ports(len(NAMES)), strict=True)
        table = "".join(f'"{name}" = "tcp://127.0.0.1:{port}"\n' for name, port in ports)
        text = config.read_text().split("[endpoints]")
        rest = text[1].split("\n[", 1)[1]
        guarded = f'{text[0]}[endpoints]\n{table}\n[security]\nkeys = "{folder}"\n\n[{rest}'
        config.write_text(guarded)
        with services(config) as settings:
            run = Path(system.start_run(settings)["run"])
            until(lambda: core(settings)["safe"]["records"] > 5, "records to be safe")
            plain = settings.endpoint("core.commands").partition("#")[0]
            with sockets.calling(plain, "core") as outsider, pytest.raises(ServiceTimeoutError):
                outsider.call("status", 1.0)
            system.stop_run(settings, "enough")
        assert verify(run).ok
        assert load(config).keys == folder
    assert cli("keys", "list", "--folder", folder).stdout == "nobody is let in\n"
