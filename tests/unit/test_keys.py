"""Sockets beyond this machine: only who has a key gets in, and no config opens one without."""

from __future__ import annotations

import contextlib
import os
import socket as stdlib
import subprocess
import sys

import pytest

from daq.errors import ServiceTimeoutError, StorageError, UsageError
from daq.wire import keys, sockets

WAIT_S = 10.0


@pytest.fixture
def folder(tmp_path):
    keys.make_system(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def address():
    with stdlib.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return f"tcp://127.0.0.1:{port}"


def test_secrets_are_for_their_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        secret = keys.make_system(tmp_path / "keys")
        carried = keys.add_client(tmp_path / "keys", "night-shift")
    finally:
        os.umask(before)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (carried / "client.key_secret").stat().st_mode & 0o777 == 0o600
    assert not (carried / "system.key_secret").exists()
    assert keys.clients(tmp_path / "keys") == ["night-shift"]


def test_keys_in_use_are_not_overwritten(folder):
    with pytest.raises(UsageError, match="clients may be using"):
        keys.make_system(folder)
    keys.add_client(folder, "anna")
    with pytest.raises(UsageError, match="let in already"):
        keys.add_client(folder, "anna")


@pytest.mark.parametrize("name", ["../anna", "", "a/b", "-", "a" * 65])
def test_a_name_that_leaves_the_folder_is_refused(folder, name):
    with pytest.raises(UsageError, match="expected a name"):
        keys.add_client(folder, name)


def test_who_is_not_let_in_cannot_be_removed(folder):
    with pytest.raises(UsageError, match="expected one of those let in"):
        keys.remove_client(folder, "ben")


def test_a_secret_that_others_may_read_is_refused(folder, address):
    (folder / "system.key_secret").chmod(0o644)
    with pytest.raises(StorageError, match="others may read it"):
        sockets.serve_requests(f"{address}#{folder}")


def test_a_folder_without_keys_is_named(tmp_path, address):
    with pytest.raises(StorageError, match="expected a key"):
        sockets.join_requests(f"{address}#{tmp_path}").close(0)


SERVER = """
import sys, threading
from daq.services.service import CommandServer, Nothing, Verb, Waker, stop_on_signals
from daq.wire import sockets
stop, waker = threading.Event(), Waker()
stop_on_signals(stop, waker)
server = CommandServer(sys.argv[1], {"ping": Verb(Nothing, lambda _: {"it": "lives"})})
poller = sockets.poller(server.socket, waker)
print("up", flush=True)
while not stop.is_set():
    poller.poll(1000)
    server.serve()
server.close()
"""


@contextlib.contextmanager
def serving(endpoint):
    """A command server in a process of its own, as it would be on another machine."""
    child = subprocess.Popen([sys.executable, "-c", SERVER, endpoint], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        yield
    finally:
        child.terminate()
        assert child.wait(WAIT_S) == 0
        child.stdout.close()


def asked(endpoint, timeout_s=WAIT_S):
    with sockets.calling(endpoint, "test") as caller:
        return caller.call("ping", timeout_s)


def test_only_who_has_a_key_is_answered(folder, address, tmp_path):
    carried = keys.add_client(folder, "anna")
    foreign = tmp_path / "foreign"
    keys.make_system(foreign)
    stranger = keys.add_client(foreign, "eve")
    (stranger / "system.key").write_bytes((folder / "system.key").read_bytes())
    with serving(f"{address}#{folder}"):
        assert asked(f"{address}#{carried}") == {"it": "lives"}
        assert asked(f"{address}#{folder}") == {"it": "lives"}  # the services among themselves
        for outsider in (f"{address}#{stranger}", f"{address}#{foreign}", address):
            with pytest.raises(ServiceTimeoutError):
                asked(outsider, 1.0)
        with stdlib.create_connection(address.removeprefix("tcp://").split(":")) as raw:
            raw.sendall(os.urandom(4096))  # garbage harms nobody
        assert asked(f"{address}#{carried}") == {"it": "lives"}


def test_who_was_removed_is_out_from_the_next_start_on(folder, address):
    carried = keys.add_client(folder, "anna")
    keys.remove_client(folder, "anna")
    with serving(f"{address}#{folder}"), pytest.raises(ServiceTimeoutError):
        asked(f"{address}#{carried}", 1.0)
