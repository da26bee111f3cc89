"""Writing a config: only one that loads takes the old one's place."""

from __future__ import annotations

import os
from pathlib import Path

from daq.errors import StorageError
from daq.settings.loader import load


def replace_text(path: Path, text: str) -> None:
    """All or nothing; SettingsError where the new text is no config, which leaves the old one."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        load(part)
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: expected to write it: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
