"""A system of one's own for the length of a command, beside whatever else is up."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_runtime() -> Iterator[Path]:
    """A runtime folder that only this command uses, with a name short enough for ipc sockets."""
    before = os.environ.get("SCHEELITE_RUNTIME")
    with tempfile.TemporaryDirectory(prefix="scheelite-") as folder:
        os.environ["SCHEELITE_RUNTIME"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("SCHEELITE_RUNTIME")
            if before is not None:
                os.environ["SCHEELITE_RUNTIME"] = before
