"""Filter files: what `scheelite train` writes and the config and the core load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from daq.acquire.filters import Filter
from daq.acquire.filterset import filters_from_bytes, filters_to_bytes
from daq.errors import FormatError, StorageError, UsageError


def write_filters(path: Path, filters: Mapping[str, Filter]) -> None:
    """All or nothing: a reader sees the file before or the whole new one."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(filters_to_bytes(filters))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: expected to write it: {error.strerror}") from error


def read_filters(path: Path) -> dict[str, Filter]:
    """Filters by channel; FormatError with the place where there are none."""
    try:
        return filters_from_bytes(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: expected a file of filters: {error.strerror}") from error
    except UsageError as error:
        raise FormatError(f"{path}: {error}") from error
