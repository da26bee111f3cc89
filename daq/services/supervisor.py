"""The supervisor: starts every service of a config, again what dies or hangs, ends all in order."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from daq.errors import ScheeliteError
from daq.services import processes
from daq.services.bench import keep_truth
from daq.services.neighbors import Neighbors, service_names
from daq.services.nightclock import start_anew
from daq.services.notify import ALIVE, READY, STOPPING, notify
from daq.services.processes import Up
from daq.settings.loader import Settings, runtime_dir
from daq.wire import sockets

logger = logging.getLogger(__name__)

CHECK_S = 0.1
HOPELESS = {2, 4}  # exit codes of mistakes that starting again cannot mend
GIVEN_UP_AFTER, WITHIN_S = 6, 60.0
STOP_S, RUN_END_S = 15.0, 60.0
HUNG_S = 30.0  # without a word: a stopped process is waited for, a hung one is not
BEGIN_S = 60.0  # until a young service must have said its first


@dataclass(slots=True)
class Service:
    """One process that is kept alive."""

    name: str
    command: list[str]
    child: subprocess.Popen[bytes] | None = None
    born_s: float = 0.0
    deaths: deque[float] = field(default_factory=deque)
    restarts: int = 0
    given_up: bool = False
    problem: str = ""
    config: str = ""  # what was in the file when it was started last


def plan(settings: Settings, runtime: Path) -> list[Service]:
    """The services of a config in the order they are started."""
    config = str(settings.path.absolute())
    bench = [Service("bench", _bench_command(settings, runtime))] if _bench_wanted(settings) else []
    rest = [Service(name, _command(name, config)) for name in [*service_names(settings), "run"]]
    return [*bench, *rest]


class Supervisor:
    """Keeps the services of one config alive until `stop` is set, then sees each of them end.

    A second SIGTERM changes nothing: what hangs at its end is killed here after `STOP_S`.
    """

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        hung_s: float = HUNG_S,
    ) -> None:
        self._settings, self._stop, self._clock, self._hung_s = settings, stop, clock, hung_s
        self._runtime = processes.private_folder(runtime_dir())
        self._logs = processes.private_folder(self._runtime / processes.LOGS)
        self._services = plan(settings, self._runtime)
        speaking = [*service_names(settings), "run"]
        endpoints = {name: settings.endpoint(f"{name}.state") for name in speaking}
        self._neighbors = Neighbors(endpoints, clock)

    def run(self) -> None:
        """Start all, keep them alive, end them."""
        try:
            path = self._runtime / processes.CONFIG_FILE
            path.write_text(self._settings.text, encoding="utf-8")
            start_anew(self._runtime)
            for service in self._services:
                self._start(service)
            self._remember()
            notify(READY)
            while not self._stop.wait(CHECK_S):
                self._check()
                notify(ALIVE)
        finally:
            notify(STOPPING)
            self._end()
            self._neighbors.close()

    def _start(self, service: Service) -> None:
        service.config = self._config()
        with (self._logs / f"{service.name}.log").open("ab") as log:
            service.child = subprocess.Popen(
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in our terminal is ours to handle
            )
        service.born_s = self._clock()

    def _check(self) -> None:
        self._neighbors.serve()
        for service in self._services:
            if self._hangs(service):
                self._kill(service)
        dead = [s for s in self._services if not s.given_up and _died(s)]
        for service in dead:
            self._respawn(service)
        again = self._another_chance()
        if dead or again:
            self._remember()

    def _another_chance(self) -> bool:
        """Try what was given up once more where the config was changed since."""
        again = [s for s in self._services if s.given_up and s.config != self._config()]
        for service in again:
            logger.warning("The config has changed: %s gets another chance.", service.name)
            service.given_up = False
            service.deaths.clear()
            service.restarts += 1
            self._start(service)
        return bool(again)

    def _config(self) -> str:
        try:
            return self._settings.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""  # which is worth a try, too: it says so then

    def _hangs(self, service: Service) -> bool:
        """Whether a living service has said nothing for too long; its loop stands still."""
        if service.name not in self._neighbors.names or service.given_up or _died(service):
            return False
        age_s, quiet_s = self._clock() - service.born_s, self._neighbors.quiet_s(service.name)
        spoke = quiet_s < age_s
        return quiet_s > self._hung_s if spoke else age_s > BEGIN_S

    def _kill(self, service: Service) -> None:
        assert service.child is not None
        logger.error("%s has said nothing for too long and is killed.", service.name)
        service.child.kill()
        service.child.wait()

    def _respawn(self, service: Service) -> None:
        assert service.child is not None
        code = service.child.returncode
        words = processes.last_words(self._logs / f"{service.name}.log")
        service.problem = words if code > 0 and words else f"ended with {_ending(code)}"
        logger.warning("%s died: %s", service.name, service.problem)
        service.deaths.append(self._clock())
        while service.deaths and self._clock() - service.deaths[0] > WITHIN_S:
            service.deaths.popleft()
        if code in HOPELESS or len(service.deaths) >= GIVEN_UP_AFTER:
            service.given_up = True
            logger.error("%s is given up: %s", service.name, service.problem)
            return
        service.restarts += 1
        self._start(service)

    def _remember(self) -> None:
        services = {
            s.name: processes.described(s.child.pid, restarts=s.restarts, problem=s.problem)
            for s in self._services
            if s.child is not None and s.child.poll() is None
        }
        for s in self._services:
            if s.given_up:
                services[s.name] = processes.Process(
                    pid=0, created=0.0, state="given up", restarts=s.restarts, problem=s.problem
                )
        up = Up(
            config=str(self._settings.path.absolute()),
            supervisor=processes.described(os.getpid()),
            services=services,
        )
        processes.remember(self._runtime, up)

    # --- the end ---

    def _end(self) -> None:
        """First the run, so that it is whole; then the services, last started first."""
        self._end_run()
        for service in reversed(self._services):
            _terminate(service)
        processes.forget(self._runtime)

    def _end_run(self) -> None:
        endpoint = self._settings.endpoint("run.commands")
        try:
            with sockets.calling(endpoint, "run") as conductor:
                end_run(conductor, self._clock)
        except ScheeliteError as error:
            logger.info("No run was ended: %s", error)


def end_run(conductor: sockets.Caller, clock: Callable[[], float] = time.monotonic) -> None:
    """Stop a run in progress, and wait until it is complete on disk."""
    if "stop" in conductor.call("status", 1.0)["verbs"]:
        conductor.call("stop", 20.0, reason="services go down")
    deadline = clock() + RUN_END_S
    while clock() < deadline:
        if conductor.call("status", 5.0)["state"] in ("idle", "failed"):
            return
        time.sleep(CHECK_S)


def _died(service: Service) -> bool:
    return service.child is not None and service.child.poll() is not None


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _terminate(service: Service) -> None:
    if service.child is None or service.child.poll() is not None:
        return
    service.child.terminate()
    try:
        service.child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        logger.error("%s did not end within %g s and is killed.", service.name, STOP_S)
        service.child.kill()
        service.child.wait()


def _command(name: str, config: str) -> list[str]:
    package = "drivers" if name.startswith(("digitizer.", "instruments")) else "daq"
    kind, _, which = name.partition(".")
    return [sys.executable, "-m", package, kind, *([which] if which else []), config]


def _bench_command(settings: Settings, runtime: Path) -> list[str]:
    path = runtime / "bench.json"
    tables = settings.sections["bench"].model_dump(mode="json")
    keep_truth(tables, settings.data_dir)
    processes.write_json(path, tables)
    return [sys.executable, "-m", "sim_hardware", "bench", str(path), "--json"]


def _bench_wanted(settings: Settings) -> bool:
    """A simulated bench is in the config, and nobody answers at its ports yet."""
    bench = settings.sections.get("bench")
    if bench is None:
        return False
    tables = bench.model_dump(mode="json")
    entries = [*tables.get("digitizers", {}).values(), *tables.get("instruments", {}).values()]
    return not all(_answers(int(entry["port"])) for entry in entries)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
