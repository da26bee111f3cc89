"""Who we are to the services: a name, and the ticket that this user's control lease was taken with.

SCHEELITE_OPERATOR names the person where several share a login; each name has a ticket of its own.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
from pathlib import Path

from daq.errors import StorageError, UsageError
from daq.model.operator import Operator
from daq.settings.loader import runtime_dir

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
TICKETS = "tickets"


def current() -> Operator:
    """The operator that this process acts for; UsageError for a name that is none."""
    who = os.environ.get("SCHEELITE_OPERATOR") or f"{getpass.getuser()}@{socket.gethostname()}"
    if not NAME.fullmatch(who):
        expected = "letters, digits, _ . @ - (64 at most)"
        raise UsageError(f"SCHEELITE_OPERATOR: expected {expected}, found {who!r}")
    return Operator(who, _ticket(who))


def with_ticket(operator: Operator) -> Operator:
    """The operator with a ticket, made and kept for this user alone where there is none."""
    if operator.ticket:
        return operator
    path, ticket = _path(operator.who), secrets.token_hex(16)
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_text(ticket, encoding="ascii")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    return Operator(operator.who, ticket)


def _ticket(who: str) -> str:
    try:
        return _path(who).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _path(who: str) -> Path:
    return runtime_dir() / TICKETS / who
