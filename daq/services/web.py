"""The read-only page of run control for a telephone, its live events, and /metrics.

The standard library's server: a handful of readers, nothing to install, nothing that can write.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from daq.errors import UsageError
from daq.run.quantities import Quantity
from daq.services.gauges import CONTENT_TYPE, Gauges
from daq.services.pulsewatch import PulseWatch
from daq.settings.loader import Settings
from daq.settings.watch import Web, secret

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0  # of a client that says or takes nothing
MOST_READERS = 32
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)
TOKEN = "scheelite_token"
# what a phone is shown of the core's state, channel by channel
SHOWN = ("rate_hz", "records", "livetime_s", "exposure_g_d")


class Board:
    """What was told last; readers wait for the next. `latest` is replaced, never changed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number, self.latest = 0, dict[str, Any]()  # Any: JSON
        self.quantities: Mapping[str, Quantity] = {}
        self.closed = False

    def put(self, told: dict[str, Any], quantities: Mapping[str, Quantity]) -> None:
        """Something new."""
        with self._changed:
            self._number, self.latest, self.quantities = self._number + 1, told, quantities
            self._changed.notify_all()

    def next(self, after: int, timeout_s: float) -> tuple[int, dict[str, Any]]:
        """What came after a number, or the same again after the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > after or self.closed, timeout_s)
            return self._number, self.latest

    def close(self) -> None:
        """Let all readers go."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class WebPage:
    """The server in threads of its own; run control's thread puts what there is to see."""

    def __init__(self, settings: Settings) -> None:
        section = settings.sections.get("web")
        self._board, self.url = Board(), ""
        self._server: Server | None = None
        if not isinstance(section, Web):
            return
        token = secret(section.token_file, settings.path.absolute().parent)
        if section.token_file and not token:
            raise UsageError(f"{section.token_file}: expected a token, found an empty file")
        gauges = Gauges(lambda: self._board.quantities, lambda: self._board.latest["alarms"])
        try:
            self._server = Server((section.host, section.port), self._board, gauges, token)
        except OSError as error:
            raise UsageError(f"[web] {section.host}:{section.port}: {error.strerror}") from error
        self._pulses = PulseWatch(settings.endpoint("core.pulses"))
        self.url = f"http://{section.host}:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, name="web", daemon=True).start()

    def put(
        self, body: dict[str, Any], core: dict[str, Any] | None, quantities: Mapping[str, Quantity]
    ) -> None:
        """What run control and the core say now."""
        if self._server is not None:
            self._board.put(shown(body, core, quantities, self._pulses.latest), quantities)

    def close(self) -> None:
        """Let readers go, and stop."""
        if self._server is not None:
            self._board.close()
            self._server.shutdown()
            self._server.server_close()
            self._pulses.close()


# Any: JSON
def shown(
    body: dict[str, Any],
    core: dict[str, Any] | None,
    quantities: Mapping[str, Quantity],
    pulses: Mapping[str, object],
) -> dict[str, Any]:
    """What the page is told, several times a second."""
    channels = core["channels"] if core else {}
    night = body.get("night")
    return {
        "state": body["state"],
        "run": body["run"],
        "label": (core or {}).get("label", ""),
        "elapsed_s": (core or {}).get("elapsed_s", 0.0),
        "problem": body["problem"],
        "alarms": body["alarms"],
        "services": {name: row["state"] for name, row in body["services"].items()},
        "night": night and {key: night[key] for key in ("name", "state", "part", "outcome")},
        "step": night["steps"][-1]["what"] if night and night["steps"] else "",
        "channels": {name: {key: row[key] for key in SHOWN} for name, row in channels.items()},
        "exposure_g_d": sum(row["exposure_g_d"] for row in channels.values()),
        "temperatures": {
            name: {"value": q.value, "stale": q.stale}
            for name, q in quantities.items()
            if q.unit == "K" and name.endswith("temperature")
        },
        "disk_hours_left": (core or {}).get("disk_hours_left"),
        "pulses": dict(pulses),
    }


class Server(ThreadingHTTPServer):
    """Holds what its handlers need."""

    daemon_threads, block_on_close = True, False

    def __init__(self, address: tuple[str, int], board: Board, gauges: Gauges, token: str) -> None:
        super().__init__(address, Handler)
        self.board, self.gauges, self.token = board, gauges, token
        self.readers = threading.BoundedSemaphore(MOST_READERS)
        self.page = files("daq.services").joinpath("page.html").read_bytes()


class Handler(BaseHTTPRequestHandler):
    """Answers GET, and nothing else."""

    server: Server
    timeout = TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "scheelite", ""

    def do_GET(self) -> None:
        """Whoever may look is answered by the table of paths."""
        path = urlsplit(self.path).path
        answers: dict[str, Callable[[], None]] = {
            "/": lambda: self._send(200, "text/html; charset=utf-8", self._page()),
            "/events": self._events,
            "/state": lambda: self._send(200, "application/json", self._state()),
            "/metrics": lambda: self._send(200, CONTENT_TYPE, self.server.gauges.page()),
        }
        if not self._may_look():
            self._send(401, "text/plain", b"expected the token: ?token=... or a bearer's\n")
        elif path not in answers:
            known = ", ".join(answers)
            self._send(404, "text/plain", f"expected one of {known}\n".encode())
        else:
            answers[path]()

    def _may_look(self) -> bool:
        if not self.server.token:
            return True
        asked = parse_qs(urlsplit(self.path).query).get("token", [""])[0]
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get(TOKEN)
        given = [asked, bearer, cookie.value if cookie else ""]
        return any(hmac.compare_digest(each.encode(), self.server.token.encode()) for each in given)

    def _page(self) -> bytes:
        """The page with what is known now in it: something is seen before the first event."""
        told = self._state().replace(b"<", b"\\u003c")
        return self.server.page.replace(b"/*first*/null", told)

    def _state(self) -> bytes:
        return json.dumps(self.server.board.latest).encode()

    def _events(self) -> None:
        """Server-sent events until the reader goes: each is the whole state."""
        if not self.server.readers.acquire(blocking=False):
            self._send(503, "text/plain", b"too many readers\n")
            return
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            self._stream()
        except OSError:
            return  # the reader is gone
        finally:
            self.close_connection = True
            self.server.readers.release()

    def _stream(self) -> None:
        number = 0
        while not self.server.board.closed:
            number, told = self.server.board.next(number, TIMEOUT_S / 2)
            self.wfile.write(b"data: " + json.dumps(told).encode() + b"\n\n")
            self.wfile.flush()

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if self.server.token and status == 200:
            cookie = f"{TOKEN}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            self.send_header("Set-Cookie", cookie)  # so that the token need not stay in the address
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: ARG002 - as it is
        """To our log, without the address: it may hold the token."""
        logger.debug("web: %s %s", self.command, self.client_address[0])
