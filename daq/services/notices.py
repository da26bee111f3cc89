"""Tells people: by mail, by a webhook or by a program; each in a thread that may take its time."""

from __future__ import annotations

import json
import logging
import os
import queue
import smtplib
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from pathlib import Path

import httpx

from daq.errors import ScheeliteError
from daq.settings.watch import Command, Email, Heartbeat, Notifier, Webhook, secret

logger = logging.getLogger(__name__)

TIMEOUT_S = 15.0
PAUSES_S = (0.0, 2.0, 20.0, 120.0)  # before each try


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is told: a webhook gets these fields as JSON."""

    subject: str
    text: str
    severity: str
    t_ns: int


class NoticeError(ScheeliteError):
    """Somebody could not be told."""


class Notices:
    """Sends notices to the people of [notify], each several times where it fails.

    `failures` holds a sentence for each that could not be told in the end.
    """

    def __init__(
        self,
        people: Mapping[str, Notifier],
        beside: Path,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._people, self._beside, self._pauses_s = dict(people), beside, pauses_s
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(4, "notices")
        self.failures: queue.SimpleQueue[str] = queue.SimpleQueue()

    def tell(self, who: str, notice: Notice) -> Future[bool]:
        """Whether it could be told, in the end."""
        return self._pool.submit(self._try, who, notice)

    def close(self) -> None:
        """Give up what is waiting for another try."""
        self._over.set()
        self._pool.shutdown(cancel_futures=True)

    def _try(self, who: str, notice: Notice) -> bool:
        problem = ""
        for pause_s in self._pauses_s:
            if self._over.wait(pause_s):
                break
            try:
                send(self._people[who], notice, self._beside)
            except NoticeError as error:
                problem = str(error)
                logger.warning("%s could not be told: %s", who, problem)
            else:
                return True
        self.failures.put(f"{who} could not be told {notice.subject!r}: {problem}")
        return False


class Pulse:
    """The heartbeat: a sign of life every so often, from a thread of its own."""

    def __init__(self, heartbeat: Heartbeat | None) -> None:
        self._heartbeat = heartbeat
        self._due_s, self._sending = 0.0, Future[None]()
        self._pool = ThreadPoolExecutor(1, "heartbeat")
        self._sending.set_result(None)
        self.problem = ""

    def beat(self, now_s: float, *, well: bool) -> None:
        """Send one where it is due, all is well and the last one is out."""
        if self._heartbeat is None or now_s < self._due_s or not self._sending.done():
            return
        self._due_s = now_s + self._heartbeat.every_s
        if well:
            self._sending = self._pool.submit(self._send, self._heartbeat)

    def close(self) -> None:
        """After the one that is on its way."""
        self._pool.shutdown(cancel_futures=True)

    def _send(self, heartbeat: Heartbeat) -> None:
        try:
            if heartbeat.url:
                httpx.get(heartbeat.url, timeout=TIMEOUT_S).raise_for_status()
            elif heartbeat.file:
                Path(heartbeat.file).write_text(f"{time.time_ns()}\n", encoding="ascii")
            else:
                _run(heartbeat.command, "")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, NoticeError) as error:
            self.problem = f"the heartbeat could not be sent: {error}"
            logger.warning(self.problem)
        else:
            self.problem = ""


def send(notifier: Notifier, notice: Notice, beside: Path) -> None:
    """Tell once; NoticeError says why it could not be told. Secrets lie `beside` the config."""
    try:
        match notifier:
            case Email():
                _mail(notifier, notice, secret(notifier.password_file, beside))
            case Webhook():
                _post(notifier, notice, secret(notifier.token_file, beside))
            case Command():
                _run([*notifier.command, notice.text], json.dumps(asdict(notice)))
    except (OSError, smtplib.SMTPException, httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoticeError(f"{type(error).__name__}: {error}") from error


def _mail(to: Email, notice: Notice, password: str) -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = notice.subject, to.sender
    message["To"] = ", ".join(to.to)
    message.set_content(notice.text)
    kind = smtplib.SMTP_SSL if to.tls == "tls" else smtplib.SMTP
    with kind(to.host, to.port, timeout=TIMEOUT_S) as server:
        if to.tls == "starttls":
            server.starttls()
        if to.user:
            server.login(to.user, password)
        server.send_message(message)


def _post(to: Webhook, notice: Notice, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx.post(to.url, json=asdict(notice), headers=headers, timeout=TIMEOUT_S)
    answer.raise_for_status()


def _run(command: list[str], stdin: str) -> None:
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            env=os.environ.copy(),
        )
    except subprocess.TimeoutExpired as error:
        raise NoticeError(f"{command[0]} did not end within {TIMEOUT_S:g} s") from error
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or ["without a word"]
        raise NoticeError(f"{command[0]} ended with {done.returncode}: {words[0]}")
