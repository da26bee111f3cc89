"""Other filters for the run in progress, set in it by the core's one door."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daq.services import system
from daq.services.filterfile import read_filters
from daq.settings.loader import Settings


# Any: {"epoch", "since": {channel: sample}}
def load_filters(settings: Settings, file: Path, channels: Sequence[str] = ()) -> dict[str, Any]:
    """Of these channels, or of all that the file has, from now on, without losing a sample."""
    read_filters(file)  # what is no filter file is said here, before anybody is asked
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    # Any: as `ask` takes them
    given: dict[str, Any] = {
        "file": str(file.absolute()),
        "sha256": content,
        "channels": list(channels),
    }
    return system.ask(settings, "core", "set_filters", **given)
