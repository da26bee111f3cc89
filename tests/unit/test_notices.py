"""People are told over real sockets: a mail server, a web server and a program on loopback."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from daq.services.notices import Notice, NoticeError, Notices, Pulse, send
from daq.settings.watch import Command, Email, Heartbeat, Webhook
from tests.http_server import HttpServer

NOTICE = Notice(subject="[bench] warm raised", text="it is 20 mK", severity="critical", t_ns=7)
REPLIES = {"EHLO": "250 here", "MAIL": "250 ok", "RCPT": "250 ok", "QUIT": "221 bye"}


class MailServer(socketserver.ThreadingTCPServer):
    """As much of SMTP (RFC 5321) as takes a mail; `refuse` answers RCPT with 550."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, *, refuse: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Mailing)
        self.mails: list[str] = []
        self.refuse = refuse


class Mailing(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.say("220 here")
        while line := self.rfile.readline().decode():
            verb = line[:4].upper()
            if verb == "DATA":
                self.say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.mails.append(b"".join(lines).decode())
                self.say("250 taken")
            elif verb == "RCPT" and self.server.refuse:
                self.say("550 nobody of that name")
            else:
                self.say(REPLIES.get(verb, "250 ok"))
            if verb == "QUIT":
                return

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")


@contextmanager
def mail_server(**given):
    with MailServer(**given) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def email(port: int) -> Email:
    return Email(kind="email", host="127.0.0.1", port=port, sender="daq@lab", to=["a@lab", "b@lab"])


def program(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_mail_reaches_a_mail_server():
    with mail_server() as (server, port):
        send(email(port), NOTICE, Path())
    (mail,) = server.mails
    assert "Subject: [bench] warm raised" in mail
    assert "To: a@lab, b@lab" in mail
    assert "it is 20 mK" in mail


def test_a_mail_that_is_refused_says_why():
    with mail_server(refuse=True) as (_, port), pytest.raises(NoticeError, match="nobody of that"):
        send(email(port), NOTICE, Path())


def test_a_webhook_gets_the_fields_and_the_token(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    asked = []
    server = HttpServer(
        lambda method, path, _query, body: asked.append((method, path, body)) or (200, {})
    )
    try:
        hook = Webhook(kind="webhook", url=f"{server.url}/alarm", token_file="token")
        send(hook, NOTICE, tmp_path)
    finally:
        server.close()
    fields = {"subject": NOTICE.subject, "text": NOTICE.text, "severity": "critical", "t_ns": 7}
    assert asked == [("POST", "/alarm", fields)]
    assert server.headers[0]["Authorization"] == "Bearer s3cret"


def test_a_webhook_that_fails_says_how():
    server = HttpServer(lambda *_: (503, {}))
    try:
        with pytest.raises(NoticeError, match="503"):
            send(Webhook(kind="webhook", url=server.url), NOTICE, Path())
    finally:
        server.close()
    with pytest.raises(NoticeError, match="ConnectError"):
        send(Webhook(kind="webhook", url=server.url), NOTICE, Path())


def test_a_program_gets_the_sentence_and_json(tmp_path):
    out = tmp_path / "out"
    code = f"import sys; open({str(out)!r}, 'w').write(sys.argv[1] + sys.stdin.read())"
    send(Command(kind="command", command=program(code)), NOTICE, Path())
    said = out.read_text()
    assert said.startswith("it is 20 mK")
    assert json.loads(said.removeprefix("it is 20 mK"))["severity"] == "critical"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (program("raise SystemExit('no modem')"), "ended with 1: no modem"),
        (["/nowhere/siren"], "FileNotFoundError"),
    ],
)
def test_a_program_that_fails_says_how(command, said):
    with pytest.raises(NoticeError, match=said):
        send(Command(kind="command", command=command), NOTICE, Path())


def test_who_cannot_be_told_is_tried_again_and_then_named():
    answers = iter([503, 503, 200, 503, 503, 503])
    server = HttpServer(lambda *_: (next(answers), {}))
    notices = Notices({"hook": Webhook(kind="webhook", url=server.url)}, Path(), (0.0, 0.0, 0.0))
    try:
        assert notices.tell("hook", NOTICE).result(10) is True
        assert notices.failures.empty()
        assert notices.tell("hook", NOTICE).result(10) is False
        assert "hook could not be told '[bench] warm raised'" in notices.failures.get_nowait()
    finally:
        notices.close()
        server.close()


def test_the_heartbeat_is_sent_when_due_and_only_while_all_is_well():
    asked, came = [], threading.Event()
    server = HttpServer(lambda method, path, *_: asked.append(path) or came.set() or (200, {}))
    pulse = Pulse(Heartbeat(url=f"{server.url}/ping", every_s=10.0))
    try:
        pulse.beat(100.0, well=True)
        assert came.wait(10)
        pulse.beat(109.0, well=True)
        pulse.beat(111.0, well=False)  # due, and not well: the watcher will miss it
    finally:
        pulse.close()
        server.close()
    assert asked == ["/ping"]
    assert pulse.problem == ""


def test_a_heartbeat_may_be_a_file_or_a_program(tmp_path):
    for number, given in enumerate(
        ({"file": str(tmp_path / "0")}, {"command": ["touch", str(tmp_path / "1")]})
    ):
        pulse = Pulse(Heartbeat.model_validate(given))
        pulse.beat(1.0, well=True)
        pulse.close()
        assert (tmp_path / str(number)).exists()


def test_a_heartbeat_that_fails_is_told():
    pulse = Pulse(Heartbeat(command=["/nowhere/pulse"]))
    pulse.beat(1.0, well=True)
    pulse.close()
    assert "the heartbeat could not be sent" in pulse.problem
