"""An instrument made of a table: a TCP server for tests that answers lines as it is told."""

from __future__ import annotations

import enum
import socket
import struct
import threading
from collections.abc import Callable


class Deed(enum.Enum):
    """What a server does instead of answering."""

    SILENCE = "say nothing"
    CLOSE = "close the connection"
    RESET = "break the connection"


Answer = Callable[[str], bytes | Deed]


class LineServer:
    """Answers each line on any number of connections, one thread per connection.

    `heard` are the lines so far; `connections` counts who came; `greeting` is sent to each.
    """

    def __init__(self, answer: Answer, end: bytes = b"\n", greeting: bytes = b"") -> None:
        self.answer, self.heard, self.connections = answer, list[str](), 0
        self._end, self._greeting = end, greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def tcp(self) -> str:
        return f"TCPIP::127.0.0.1::{self.port}::SOCKET"

    @property
    def serial(self) -> str:
        return f"ASRLsocket://127.0.0.1:{self.port}::INSTR"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads[1:]:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        waiting = b""
        with connection:
            try:
                connection.sendall(self._greeting)
                while chunk := connection.recv(4096):
                    *lines, waiting = (waiting + chunk).split(self._end)
                    for line in lines:
                        if not self._obey(connection, line.decode()):
                            return
            except OSError:
                return

    def _obey(self, connection: socket.socket, line: str) -> bool:
        self.heard.append(line)
        answer = self.answer(line)
        if isinstance(answer, bytes):
            connection.sendall(answer)
        elif answer is Deed.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return isinstance(answer, bytes) or answer is Deed.SILENCE
