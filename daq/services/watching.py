"""A thread of run control that looks at what services say and acts through them, slowly."""

from __future__ import annotations

import threading
from collections.abc import Collection

from daq.model.operator import Operator
from daq.services.authority import Notes
from daq.services.neighbors import Neighbors
from daq.services.service import Result
from daq.settings.loader import Settings
from daq.wire import sockets

ASK_S = 10.0


class Watching(threading.Thread):
    """Looks again and again until told to stop; run control itself must not wait for instruments.

    The core is asked with run control's `own` ticket, other services as `elsewhere`.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        stop: threading.Event,
        *,
        own: Operator,
        elsewhere: Operator,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._settings, self._stop_asked = settings, stop
        self._own, self._elsewhere = own, elsewhere

    def _watch(self, heard: Collection[str], every_s: float) -> None:
        """Listen to these services, and look."""
        self._neighbors = Neighbors({n: self._settings.endpoint(f"{n}.state") for n in heard})
        self._notes = Notes(self._settings.endpoint("core.commands"))
        try:
            while not self._stop_asked.wait(every_s):
                self._neighbors.serve()
                self._look()
        finally:
            self._neighbors.close()
            self._notes.close()

    def _look(self) -> None:
        """See how things stand, and act."""
        raise NotImplementedError

    def _ask(self, service: str, verb: str, **arguments: object) -> Result:
        operator = self._own if service == "core" else self._elsewhere
        endpoint = self._settings.endpoint(f"{service}.commands")
        with sockets.calling(endpoint, service, operator) as caller:
            return caller.call(verb, ASK_S, **arguments)
