"""CurveZMQ keys: a folder of them makes a socket one that other machines may reach.

The services' folder has `system.key` (public), `system.key_secret` and `authorized/NAME.key`, one
for each client that may connect. A client's folder has `system.key` and `client.key_secret`. Files
are certificates as zmq.auth writes them; secrets are readable by their owner alone, or refused.
An endpoint carries its folder behind a "#": tcp://192.0.2.5:5550#/home/daq/keys.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from daq.errors import StorageError, UsageError

SYSTEM, CLIENT, AUTHORIZED = "system", "client", "authorized"
DOMAIN = "scheelite"  # of the authentication (RFC 27, ZAP)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Socket = zmq.Socket[bytes]

_LOCK = threading.Lock()  # guards _authenticators: sockets are bound from several threads
_authenticators: dict[Path, ThreadAuthenticator] = {}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a socket is, and the keys that guard it; None where only this machine reaches it."""

    address: str
    keys: Path | None

    @classmethod
    def parse(cls, endpoint: str) -> Endpoint:
        """What stands before and behind the "#"."""
        address, _, folder = endpoint.partition("#")
        return cls(address, Path(folder) if folder else None)


def make_system(folder: Path) -> Path:
    """The services' own pair of keys; UsageError where there is one: clients would lose it."""
    secret = folder / f"{SYSTEM}.key_secret"
    if secret.exists():
        raise UsageError(f"{secret}: expected none, found keys that clients may be using")
    _certificates(folder, SYSTEM)
    (folder / AUTHORIZED).mkdir(0o700, exist_ok=True)
    return secret


def add_client(folder: Path, name: str) -> Path:
    """Let a new client in: the folder to carry to its machine, for its eyes alone."""
    if not NAME.fullmatch(name):
        raise UsageError(f"expected a name of letters, digits, _ . -, found {name!r}")
    public = _readable(folder / f"{SYSTEM}.key")
    if (folder / AUTHORIZED / f"{name}.key").exists():
        raise UsageError(f"{name} is let in already; scheelite keys remove {name} ends that")
    carried = folder / f"for-{name}"
    _certificates(carried, CLIENT)
    (carried / f"{SYSTEM}.key").write_bytes(public.read_bytes())
    (carried / f"{CLIENT}.key").replace(folder / AUTHORIZED / f"{name}.key")
    return carried


def remove_client(folder: Path, name: str) -> None:
    """Let a client in no more, from the next start of the services on."""
    try:
        (folder / AUTHORIZED / f"{name}.key").unlink()
    except FileNotFoundError as error:
        known = ", ".join(clients(folder)) or "nobody"
        raise UsageError(f"expected one of those let in ({known}), found {name!r}") from error


def clients(folder: Path) -> list[str]:
    """Who is let in."""
    return sorted(path.stem for path in (folder / AUTHORIZED).glob("*.key"))


def guard_server(socket: Socket, folder: Path) -> None:
    """Let a socket that is about to bind take only clients whose key is in the folder."""
    _authenticate(socket.context, folder)
    socket.curve_publickey, socket.curve_secretkey = _pair(folder, SYSTEM)
    socket.curve_server = True
    socket.zap_domain = DOMAIN.encode()


def guard_client(socket: Socket, folder: Path) -> None:
    """Let a socket that is about to connect prove who it is, and talk to our services only."""
    mine = CLIENT if (folder / f"{CLIENT}.key_secret").exists() else SYSTEM
    socket.curve_publickey, socket.curve_secretkey = _pair(folder, mine)
    server, _ = zmq.auth.load_certificate(_readable(folder / f"{SYSTEM}.key"))
    socket.curve_serverkey = server


def _authenticate(context: zmq.Context[Socket], folder: Path) -> None:
    """One thread of the process answers for all its sockets; a second folder is refused."""
    with _LOCK:
        if folder in _authenticators:
            return
        if _authenticators:
            raise UsageError(f"expected one folder of keys, found {folder} too")
        _readable(folder / f"{SYSTEM}.key_secret")
        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        authenticator.configure_curve_callback(DOMAIN, _Allowed(folder))
        _authenticators[folder] = authenticator


class _Allowed:
    """Whose public key is let in: of those in the folder, and the services among themselves."""

    def __init__(self, folder: Path) -> None:
        paths = [folder / f"{SYSTEM}.key", *sorted((folder / AUTHORIZED).glob("*.key"))]
        self._keys = {zmq.auth.load_certificate(_readable(path))[0] for path in paths}

    def callback(self, domain: str, key: bytes) -> bool:  # noqa: ARG002 - the library's signature
        """Asked by the authenticator, with the key as certificates write it."""
        return key in self._keys


def _pair(folder: Path, name: str) -> tuple[bytes, bytes]:
    path = _readable(folder / f"{name}.key_secret")
    if path.stat().st_mode & 0o077:
        raise StorageError(f"{path}: expected it for its owner alone, found others may read it")
    public, secret = zmq.auth.load_certificate(path)
    if secret is None:
        raise StorageError(f"{path}: expected a secret key, found none in it")
    return public, secret


def _readable(path: Path) -> Path:
    if not os.access(path, os.R_OK):
        raise StorageError(f"{path}: expected a key; scheelite keys makes them")
    return path


def _certificates(folder: Path, name: str) -> None:
    try:
        with _private():
            folder.mkdir(0o700, parents=True, exist_ok=True)
            zmq.auth.create_certificates(folder, name)
    except OSError as error:
        raise StorageError(f"{folder}: keys cannot be written: {error.strerror}") from error


@contextmanager
def _private() -> Iterator[None]:
    """zmq.auth would write secrets for everybody to read."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
