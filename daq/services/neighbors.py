"""What a service knows of the others: their latest states, and how old that news is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from daq.errors import WireError
from daq.settings.loader import Settings
from daq.wire import codec, sockets
from daq.wire.schemas import State

LOST_AFTER_S = 2.5


def service_names(settings: Settings) -> list[str]:
    """All services of a config but run control, in the order they are started."""
    digitizers = [f"digitizer.{name}" for name in settings.digitizer_names]
    instruments = ["instruments"] if "instruments" in settings.sections else []
    return ["folder", "core", *instruments, *digitizers]


class Neighbors:
    """Subscribes to the states of services by name -> endpoint. For one thread."""

    def __init__(
        self, endpoints: dict[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.names = tuple(endpoints)
        self.socket = sockets.subscribe(*endpoints.values())
        self._clock = clock
        self._states: dict[str, State] = {}
        self._heard: dict[str, float] = {}
        self.refused: dict[str, str] = {}

    def serve(self) -> None:
        """Take the news in."""
        while sockets.readable(self.socket):
            try:
                topic, header = sockets.receive(self.socket, 2)
                state = codec.decode(header, State)
            except WireError as error:
                self.refused[topic.decode(errors="replace")] = str(error)
                continue
            self._states[state.service] = state
            self._heard[state.service] = self._clock()

    def state(self, name: str) -> State | None:
        """The latest state of a service that is alive; None without recent news."""
        return None if self.quiet_s(name) > LOST_AFTER_S else self._states[name]

    def body(self, name: str) -> dict[str, Any] | None:
        """What a service that is alive says of itself; None without recent news."""
        state = self.state(name) if name in self.names else None
        return None if state is None else state.body

    def quiet_s(self, name: str) -> float:
        """How long ago the last news of a service came; infinite without any."""
        return self._clock() - self._heard.get(name, -inf)

    def lost(self, among: Iterable[str] | None = None) -> list[str]:
        """Services without recent news."""
        return [name for name in among or self.names if self.state(name) is None]

    # Any: the JSON that `status` prints
    def table(self) -> dict[str, dict[str, Any]]:
        """One row per service: pid, state, problem."""
        return {name: self._row(name) for name in self.names}

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close(0)

    def _row(self, name: str) -> dict[str, Any]:
        state = self.state(name)
        last = self._states.get(name)
        if state is None:
            problem = self.refused.get(name) or "no news"
            return {"pid": last.pid if last else None, "state": "lost", "problem": problem}
        problem = str(state.body.get("problem", ""))
        return {"pid": state.pid, "state": state.state, "problem": problem}
