"""HTTP/1.1 for faces: requests out of bytes, replies into bytes, with or without TLS."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from sim_hardware.face import Chunk, Conversation
from sim_hardware.settings import BenchError

LONGEST_HEAD, LONGEST_BODY = 16 << 10, 1 << 20  # bytes
HEAD_END = b"\r\n\r\n"
REQUEST = re.compile(r"([A-Z]+) (\S+) HTTP/1\.[01]")
DECRYPTED = 1 << 16  # bytes at a time
CERTIFICATE_DAYS = "3650"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks: its path without the query, the query, and the body."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and the JSON that goes with it."""

    status: HTTPStatus
    content: object


class HttpFace(Protocol):
    """An instrument that is asked over HTTP."""

    complaints: list[str]

    def respond(self, request: Request, now_s: float) -> Reply:
        """The reply to a request."""


class BadRequestError(Exception):
    """What is not HTTP, or more of it than an instrument takes."""


class HttpConversation:
    """One client's connection, over which it asks again and again."""

    def __init__(self, face: HttpFace) -> None:
        self._face = face
        self._received = b""
        self._replies: list[bytes] = []
        self.over = False

    def receive(self, received: bytes, now_s: float) -> None:
        """Answer every request that is now complete; what is no HTTP ends the conversation."""
        self._received += received
        try:
            while not self.over and (request := self._next()) is not None:
                self._replies.append(_encoded(self._face.respond(request, now_s)))
        except BadRequestError as error:
            self._face.complaints.append(str(error))
            self._replies.append(_encoded(Reply(HTTPStatus.BAD_REQUEST, {"status": "ERROR"})))
            self.over = True

    def send(self, now_s: float) -> Sequence[Chunk]:
        """The replies since the last call."""
        del now_s
        replies, self._replies = self._replies, []
        return replies

    def wait_s(self, now_s: float) -> float | None:
        """Never: an instrument speaks when it is asked."""
        del now_s
        return None

    def _next(self) -> Request | None:
        """The next complete request, taken from what was received."""
        head, end, rest = self._received.partition(HEAD_END)
        if len(head) > LONGEST_HEAD:
            raise BadRequestError(f"expected a head of {LONGEST_HEAD} bytes at most")
        if not end:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        size = _body_bytes(lines)
        if len(rest) < size:
            return None
        self._received = rest[size:]
        return _request(first, rest[:size])


class TlsConversation:
    """A conversation inside TLS."""

    def __init__(
        self, inside: Conversation, context: ssl.SSLContext, complaints: list[str]
    ) -> None:
        self._inside, self._complaints = inside, complaints
        self._from_client, self._to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._from_client, self._to_client, server_side=True)
        self._agreed, self._failed = False, False

    @property
    def over(self) -> bool:
        """True once the conversation inside is over, or TLS has failed."""
        return self._failed or self._inside.over

    def receive(self, received: bytes, now_s: float) -> None:
        """Take what was encrypted."""
        self._from_client.write(received)
        try:
            self._decrypt(now_s)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self._complaints.append(f"expected TLS, found: {error.reason or error}")
            self._failed = True

    def send(self, now_s: float) -> Sequence[Chunk]:
        """What is to be said, encrypted."""
        for chunk in self._inside.send(now_s):
            self._tls.write(chunk)
        encrypted = self._to_client.read()
        return [encrypted] if encrypted else []

    def wait_s(self, now_s: float) -> float | None:
        """As inside."""
        return self._inside.wait_s(now_s)

    def _decrypt(self, now_s: float) -> None:
        if not self._agreed:
            self._tls.do_handshake()
            self._agreed = True
        while decrypted := self._tls.read(DECRYPTED):
            self._inside.receive(decrypted, now_s)


def self_signed() -> ssl.SSLContext:
    """A server's side of TLS, with a new certificate that nobody has signed, by `openssl`."""
    with TemporaryDirectory() as folder:
        key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
        _make_certificate(key, certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


def _make_certificate(key: Path, certificate: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise BenchError("expected the program openssl, which makes certificates; found none")
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    what = ["-subj", "/CN=localhost", "-days", CERTIFICATE_DAYS]
    files = ["-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run([program, *kind, *what, *files], capture_output=True, check=False)
    if made.returncode:
        said = made.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise BenchError(f"expected a certificate of openssl, found: {said}")


def _body_bytes(lines: list[str]) -> int:
    """How long a body is, by the lines of its head."""
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if "transfer-encoding" in headers:
        raise BadRequestError("expected a body with its length, found transfer-encoding")
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"\d{1,9}", length) or int(length) > LONGEST_BODY:
        raise BadRequestError(f"expected a content-length up to {LONGEST_BODY}, found {length}")
    return int(length)


def _request(first: str, body: bytes) -> Request:
    found = REQUEST.fullmatch(first)
    if found is None:
        raise BadRequestError(f"expected a request of HTTP/1.1, found {first[:40]!r}")
    target = urlsplit(found[2])
    return Request(found[1], target.path, dict(parse_qsl(target.query)), body)


def _encoded(reply: Reply) -> bytes:
    body = json.dumps(reply.content).encode()
    head = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
