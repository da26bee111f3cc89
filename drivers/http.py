"""HTTP to instruments: JSON out and JSON in, with the errors of this project.

One connection is kept open between exchanges. The key of an instrument travels in the address, so
no message of ours ever shows more than the path; and it comes from a file of its own, because the
settings are written into every run.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from daq.errors import InstrumentError, NoReplyError, NotConnectedError, ReplyError, UsageError

MAX_REPLY = 16_000_000  # bytes
_ADDRESS = re.compile(r"\Ahttps?://[A-Za-z0-9_.-]+:[0-9]{1,5}\Z")
_KEY = re.compile(r"\A[!-~]{1,256}\Z")
Json = Any  # what json.loads returns, which has no type of its own


def check_address(resource: str) -> str:
    """`resource`, where it is http://HOST:PORT or https://HOST:PORT; UsageError otherwise."""
    if not _ADDRESS.match(resource):
        raise UsageError(f"expected http://HOST:PORT or https://HOST:PORT, found {resource!r}")
    return resource


def key_in(path: str) -> str:
    """The key that is the one line of a file; UsageError where it is not there."""
    try:
        key = Path(path).expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the key in {path}: {_why(error)}") from error
    if not _KEY.match(key):
        raise UsageError(f"expected one key without blanks in {path}, found something else")
    return key


class HttpLink:
    """HTTP to one instrument: opened on demand, closed by any failure.

    `lock` guards the connection: one exchange, or one write with its readback, at a time.
    `self_signed` accepts any certificate, and with it anybody who takes the instrument's place.
    """

    def __init__(
        self, resource: str, *, timeout_s: float = 3.0, key: str = "", self_signed: bool = False
    ) -> None:
        self.resource = check_address(resource)
        self.lock = threading.RLock()
        self._timeout_s, self._self_signed = timeout_s, self_signed
        self._parameters = {"key": key} if key else {}
        self._client: httpx.Client | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a client; HTTP connects with the first request."""
        return self._client is not None

    def is_in_step(self) -> bool:
        """As `is_open`: a reply of HTTP cannot belong to another request."""
        return self.is_open

    def open(self) -> None:
        """Begin anew, without a connection yet."""
        with self.lock:
            self.close()
            self._client = httpx.Client(
                base_url=self.resource,
                timeout=self._timeout_s,
                verify=not self._self_signed,
                trust_env=False,  # instruments are not behind proxies
            )

    def ask(self, text: str) -> str:
        """The JSON text at a path."""
        return json.dumps(self.get(text))

    def tell(self, text: str) -> None:
        """Not for HTTP: what is written needs a body."""
        raise UsageError(f"expected a body to send to {text!r}, found none")

    def get(self, path: str) -> Json:
        """What a GET answers; any failure closes the connection."""
        return self._exchange("GET", path, None)

    def post(self, path: str, body: Mapping[str, Json]) -> Json:
        """What a POST answers; any failure closes the connection."""
        return self._exchange("POST", path, body)

    def close(self) -> None:
        """Give the connection back."""
        with self.lock:
            client, self._client = self._client, None
            if client is not None:
                client.close()

    def _exchange(self, method: str, path: str, body: Mapping[str, Json] | None) -> Json:
        with self.lock:
            if self._client is None:
                raise NotConnectedError(f"the line to {self.resource} is closed")
            try:
                return self._answered(self._client, method, path, body)
            except InstrumentError:
                self.close()
                raise
            except httpx.TimeoutException as error:
                self.close()
                found = f"found nothing: {self.resource} at {path}"
                sentence = f"expected a reply within {self._timeout_s:g} s, {found}"
                raise NoReplyError(sentence) from error
            except httpx.HTTPError as error:
                self.close()
                raise NotConnectedError(f"cannot reach {self.resource}: {_why(error)}") from error

    def _answered(
        self, client: httpx.Client, method: str, path: str, body: Mapping[str, Json] | None
    ) -> Json:
        reply = client.request(method, path, params=self._parameters, json=body)
        where = f"{self.resource} at {path}"
        if reply.status_code in (401, 403):
            raise InstrumentError(f"{where} refused the key, or the key may not do this")
        if len(reply.content) > MAX_REPLY:
            raise ReplyError(f"expected at most {MAX_REPLY} bytes from {where}, found more")
        try:
            content = json.loads(reply.content)
        except (ValueError, RecursionError) as error:
            found = f"status {reply.status_code} and {reply.content[:80]!r}"
            raise ReplyError(f"expected JSON from {where}, found {found}") from error
        if reply.status_code >= 400 and not isinstance(content, dict):
            raise ReplyError(f"expected an answer from {where}, found {reply.status_code}")
        return content


def _why(error: BaseException) -> str:
    """A failure in a few words, without an address that may hold the key."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not to be trusted ({cause.verify_message}); where it is the "
                "instrument's own, allow it with self_signed = true"
            )
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        error, cause = cause, cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
