"""The filters that lie beside a run: which it names, and whether they are what it names.

A run names its filters by SHA-256, at its start and in each input that loads others. Each has a
file called after its sum; without them a run can be neither taken up nor replayed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from daq.errors import FormatError
from daq.store import names
from daq.store.contents import texts_of
from daq.store.parts import Part
from daq.store.summary import FileSum, file_sum

LOADED = "filters"  # the input by which others come into force


class _Input(msgspec.Struct):
    """Of an input, which it is and which filters it loads."""

    input: str = ""
    filters: str = ""


def filter_sums(folder: Path) -> list[FileSum]:
    """The sums of the files that are what their names say; a changed one is none of them."""
    sums = (FileSum(**file_sum(path)) for path in names.filters(folder))
    return [found for found in sums if found.name == _name(folder, found.sha256)]


def wrong_filters(folder: Path, parts: Sequence[Part], listed: Sequence[FileSum]) -> Iterator[str]:
    """Filters that the run names and that are missing or others; `listed` are checked already."""
    known = {file.sha256 for file in listed}
    for part in parts:
        try:
            named = _named(part)
        except FormatError as error:
            yield f"{part.name}: {error}"
            continue
        for digest in sorted(named - known):
            yield from _wrong(names.filters_path(folder, digest), digest)
        known |= named


def _named(part: Part) -> set[str]:
    """The filters that a part of the run names; FormatError where an input is none."""
    inputs = [_decoded(text) for text in texts_of(part.table("inputs"))]
    loaded = {each.filters for each in inputs if each.input == LOADED}
    return {digest for digest in (part.facts.start.filters, *loaded) if digest}


def _decoded(text: bytes) -> _Input:
    try:
        return msgspec.json.decode(text, type=_Input)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"expected the JSON of an input: {error}") from error


def _wrong(path: Path, digest: str) -> Iterator[str]:
    if not path.is_file():
        yield f"{path.name}: missing, and the run names it"
    elif not os.access(path, os.R_OK):
        yield f"{path.name}: unproven: it is for its owner alone"
    elif (found := FileSum(**file_sum(path)).sha256) != digest:
        yield f"{path.name}: expected SHA-256 {digest}, found {found}"


def _name(folder: Path, digest: str) -> str:
    return names.filters_path(folder, digest).name
