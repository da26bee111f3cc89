"""Filter files: what `scheelite train` writes and the config and the core load."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from daq.acquire.filters import Filter
from daq.acquire.filterset import filters_from_bytes, filters_to_bytes
from daq.errors import FormatError, StorageError, UsageError
from daq.store import disk, names


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


# --- a run's own copy ---


def digest_of(filters: Mapping[str, Filter]) -> str:
    """SHA-256 of filters, in hex; "" for none."""
    return hashlib.sha256(filters_to_bytes(filters)).hexdigest() if filters else ""


def keep_filters(folder: Path, filters: Mapping[str, Filter]) -> None:
    """Put a run's filters into its folder, durable when this returns."""
    if filters:
        disk.publish(names.filters_path(folder, digest_of(filters)), filters_to_bytes(filters))


def kept_filters(folder: Path, digest: str) -> dict[str, Filter]:
    """The filters that a run began with; StorageError where they are not there as they were."""
    if not digest:
        return {}
    path = names.filters_path(folder, digest)
    try:
        filters = read_filters(path)
    except FormatError as error:
        raise StorageError(str(error)) from error
    if digest_of(filters) != digest:
        found = digest_of(filters)[:12]
        raise StorageError(f"{path}: expected the filters {digest[:12]} of its run, found {found}")
    return filters
