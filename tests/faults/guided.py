"""`python -m tests.faults.guided WHAT`: nonsense by atheris, guided by the code it reaches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["daq.wire", "daq.store", "daq.settings", "tomllib"]):
    from daq.errors import ScheeliteError
    from daq.settings import loader
    from daq.store import logfile
    from daq.wire import codec, schemas

KINDS = [
    kind
    for kind in vars(schemas).values()
    if isinstance(kind, type) and issubclass(kind, schemas.Message) and kind is not schemas.Message
]


def message(data: bytes) -> None:
    """A header from a stranger."""
    codec.decode(data, *KINDS)


def log(data: bytes) -> None:
    """A file of the write-ahead log after whatever happened to it."""
    logfile.parse(data, 7, 1, followed=len(data) % 2 == 0)


def config(data: bytes) -> None:
    """A config that is none."""
    loader.parse(data.decode(errors="replace"), Path("some.toml"))


TARGETS: dict[str, Callable[[bytes], None]] = {"message": message, "log": log, "config": config}


def main() -> None:
    """Run until an error that is none of ours, or as long as the options say."""
    target = TARGETS[sys.argv.pop(1)]

    def judged(data: bytes) -> None:
        with contextlib.suppress(ScheeliteError):
            target(data)

    atheris.Setup(sys.argv, judged)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
