"""The line to an instrument, with everything that lines do to one."""

from __future__ import annotations

import dataclasses
import os
import pty
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from daq.errors import NoReplyError, NotConnectedError, ReplyError, UsageError
from drivers.transport import MAX_REPLY, Line, Link, SerialPort
from tests.line_server import Deed, LineServer

PORT = SerialPort(baud=9600, data_bits=8, parity="none")
LINE = Line(send_end="\n", reply_end="\r\n", timeout_s=5.0, drain_s=0.0, serial=PORT)
IMPATIENT = dataclasses.replace(LINE, timeout_s=0.1)


@pytest.fixture
def serve(request):
    """Starts servers, and closes them at the end."""

    def start(answer, **options):
        server = LineServer(answer, **options)
        request.addfinalizer(server.close)
        return server

    return start


@pytest.fixture
def link_to(request):
    """Opens links, and closes them at the end."""

    def opened(resource, line=LINE, **options):
        link = Link(resource, line, **options)
        request.addfinalizer(link.close)
        link.open()
        return link

    return opened


def echo(line: str) -> bytes:
    return line.encode() + b"\r\n"


@pytest.mark.parametrize("kind", ["tcp", "serial"])
def test_a_question_is_answered_over_both_kinds_of_line(serve, link_to, kind):
    server = serve(echo)
    link = link_to(getattr(server, kind))
    assert [link.ask("KRDG? 1"), link.ask("KRDG? 2")] == ["KRDG? 1", "KRDG? 2"]


def test_a_serial_port_of_the_system_is_a_line_too(link_to):
    ours, theirs = pty.openpty()

    def instrument() -> None:
        assert os.read(ours, 100) == b"*IDN?\n"
        os.write(ours, b"AN INSTRUMENT\r\n")

    thread = threading.Thread(target=instrument)
    thread.start()
    link = link_to(f"ASRL{os.ttyname(theirs)}::INSTR")
    os.close(theirs)
    assert link.ask("*IDN?") == "AN INSTRUMENT"
    thread.join(5)
    os.close(ours)


def test_a_reply_in_pieces_is_joined(serve, link_to):
    pieces = {"begin": b"+293.8", "end": b"73E+00\r\n"}
    link = link_to(serve(pieces.__getitem__).tcp)
    link.tell("begin")
    assert link.ask("end") == "+293.873E+00"


def test_what_was_told_reaches_the_instrument(serve, link_to):
    heard = threading.Event()

    def answer(line: str) -> Deed:
        heard.set()
        return Deed.SILENCE

    server = serve(answer)
    link_to(server.tcp).tell("RANGE 0,4")
    assert heard.wait(5)
    assert server.heard == ["RANGE 0,4"]


@pytest.mark.parametrize("kind", ["tcp", "serial"])
def test_silence_is_no_reply_and_closes_the_line(serve, link_to, kind):
    link = link_to(getattr(serve(lambda _: Deed.SILENCE), kind), IMPATIENT)
    with pytest.raises(
        NoReplyError, match=r"expected a reply within 0.1 s, found nothing: .*'X\?'"
    ):
        link.ask("X?")
    assert not link.is_open


def test_half_a_reply_is_no_reply_and_says_what_came(serve, link_to):
    link = link_to(serve(lambda _: b"+293.8").tcp, IMPATIENT)
    with pytest.raises(NoReplyError, match=r"found only b'\+293.8'"):
        link.ask("X?")


def test_a_late_reply_never_answers_the_next_question(serve, link_to):
    given_up = threading.Event()

    def answer(line: str) -> bytes:
        if line == "slow":
            assert given_up.wait(5)
        return echo(line)

    link = link_to(serve(answer).tcp, IMPATIENT)
    with pytest.raises(NoReplyError):
        link.ask("slow")
    link.open()
    given_up.set()
    assert link.ask("next") == "next"


def test_a_stray_line_is_noticed_before_the_next_question(serve, link_to):
    link = link_to(serve(lambda line: echo(line)).tcp)
    assert link.ask("one") == "one"
    assert link.is_in_step()
    stray = link_to(serve(echo, greeting=b"hello there\r\n").tcp)
    deadline = time.monotonic() + 5
    while stray.is_in_step():
        assert time.monotonic() < deadline
    assert stray.is_open


def test_two_lines_in_one_reply_are_refused(serve, link_to):
    link = link_to(serve(lambda _: b"one\r\ntwo\r\n").tcp)
    with pytest.raises(ReplyError, match="expected one line of ASCII"):
        link.ask("X?")


def test_bytes_that_are_no_text_are_refused(serve, link_to):
    link = link_to(serve(lambda _: b"\xff\xfe\r\n").tcp)
    with pytest.raises(ReplyError, match=r"found b'\\xff\\xfe'"):
        link.ask("X?")


def test_an_endless_reply_is_refused(serve, link_to):
    link = link_to(serve(lambda _: b"x" * (MAX_REPLY + 1)).tcp)
    with pytest.raises(ReplyError, match=r"sent 655\d\d bytes without an end"):
        link.ask("X?")


@pytest.mark.parametrize("kind", ["tcp", "serial"])
@pytest.mark.parametrize("deed", [Deed.CLOSE, Deed.RESET])
def test_a_closed_connection_is_noticed_at_once_without_spinning(serve, link_to, kind, deed):
    link = link_to(getattr(serve(lambda _: deed), kind))
    began, worked = time.monotonic(), time.thread_time()
    with pytest.raises(NotConnectedError, match=r"lost .* at 'X\?'"):
        link.ask("X?")
    assert time.monotonic() - began < 2.0  # its timeout is 5 s
    assert time.thread_time() - worked < 0.2
    assert not link.is_open


def test_a_connection_closed_in_between_is_noticed_before_the_next_question(serve, link_to):
    server = serve(lambda line: Deed.CLOSE if line == "bye" else echo(line))
    link = link_to(server.tcp)
    link.tell("bye")
    deadline = time.monotonic() + 5
    while link.is_in_step():
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "kind", ["TCPIP::127.0.0.1::{}::SOCKET", "ASRLsocket://127.0.0.1:{}::INSTR"]
)
def test_a_refused_connection_is_not_connected(kind):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = Link(kind.format(port), LINE)
    with pytest.raises(NotConnectedError, match=r"cannot reach .*refused"):
        link.open()


def test_an_unknown_host_is_not_connected():
    with pytest.raises(NotConnectedError, match=r"cannot reach TCPIP::no.such.host.invalid"):
        Link("TCPIP::no.such.host.invalid::7777::SOCKET", LINE).open()


def test_a_missing_serial_port_is_not_connected():
    with pytest.raises(NotConnectedError, match="cannot reach ASRL/dev/no-such-port"):
        Link("ASRL/dev/no-such-port::INSTR", LINE).open()


def test_a_serial_port_that_cannot_do_the_parity_is_not_connected():
    ours, theirs = pty.openpty()  # a pty stays 8N1, and says so with a foreign exception
    line = dataclasses.replace(LINE, serial=SerialPort(baud=9600, data_bits=7, parity="even"))
    try:
        with pytest.raises(NotConnectedError, match="cannot reach"):
            Link(f"ASRL{os.ttyname(theirs)}::INSTR", line).open()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("resource", ["GPIB0::12::INSTR", "TCPIP::host::SOCKET", "7777", ""])
def test_a_resource_of_another_kind_is_refused(resource):
    with pytest.raises(UsageError, match=r"expected a resource like TCPIP::.*, found "):
        Link(resource, LINE)


def test_a_closed_line_says_so():
    with pytest.raises(NotConnectedError, match="is closed"):
        Link("TCPIP::127.0.0.1::1::SOCKET", LINE).ask("X?")


def test_messages_keep_their_distance(serve, link_to):
    now, slept = [100.0], []

    def sleep(duration_s: float) -> None:
        slept.append(duration_s)
        now[0] += duration_s

    line = dataclasses.replace(LINE, quiet_s=0.05)
    link = link_to(serve(echo).tcp, line, clock=lambda: now[0], sleep=sleep)
    link.ask("one")
    now[0] += 0.02
    link.ask("two")
    now[0] += 1.0
    link.tell("three")
    link.tell("four")
    assert slept == pytest.approx([0.03, 0.05])


def test_a_write_and_a_question_in_turn_do_not_wait_for_each_other(serve, link_to):
    server = serve(lambda line: Deed.SILENCE if line == "tell" else echo(line))
    link = link_to(server.tcp)
    began = time.monotonic()
    for _ in range(20):
        link.tell("tell")
        link.ask("ask")
    assert time.monotonic() - began < 0.5  # 0.9 s with Nagle's algorithm


def test_a_reply_with_another_end_is_named_with_what_came(serve, link_to):
    server = serve(lambda text: b"LSCI,MODEL372,SIM,1.3\n")  # LF, where CRLF was agreed
    with pytest.raises(
        NoReplyError, match=r"ends in '\\r\\n' within .* found only .*LSCI,MODEL372"
    ):
        link_to(server.tcp, IMPATIENT).ask("*IDN?")


def test_what_another_baud_rate_makes_of_a_reply_is_named(serve, link_to):
    server = serve(lambda text: b"\xf8\x80\x00\xe6\x98\x1e\x86\xfe\r\n")
    with pytest.raises(
        ReplyError, match=r"ASCII .* found .*\(the line is set to 9600 baud, 8 bits"
    ):
        link_to(server.serial).ask("*IDN?")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without permission")
def test_a_serial_port_without_permission_is_named():
    """In a child that is nobody: the root that runs tests may open everything."""
    import serial  # what the child could no longer import

    assert serial
    master, slave = os.openpty()
    Path(os.ttyname(slave)).chmod(0o600)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.setuid(65534)
        try:
            Link(f"ASRL{os.ttyname(slave)}::INSTR", LINE).open()
        except NotConnectedError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reading, 4096).decode()
    for descriptor in (master, slave, reading, writing):
        os.close(descriptor)
    assert re.match(r"cannot reach ASRL/dev/pts/\d+::INSTR: .*[Pp]ermission denied", said), said
