"""An instrument made of a table: an HTTP server for tests that answers JSON as it is told."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Answer = Callable[[str, str, dict[str, list[str]], object], tuple[int, object]]


class HttpServer:
    """Answers each request by `answer(method, path, query, body)`: a status, and JSON or bytes."""

    def __init__(self, answer: Answer, certificate: tuple[str, str] | None = None) -> None:
        self.headers: list[dict[str, str]] = []  # of each request so far
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer, self.headers))
        server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(answer: Answer, headers: list[dict[str, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._reply(json.loads(self.rfile.read(length)))

        def _reply(self, body: object) -> None:
            headers.append(dict(self.headers))
            url = urlsplit(self.path)
            status, content = answer(self.command, url.path, parse_qs(url.query), body)
            payload = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
