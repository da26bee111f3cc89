"""The filters of several channels as one file's bytes, with a checksum of each.

MessagePack: [schema, version, [[channel, SHA-256 of the filter's bytes in hex, the filter's bytes],
...]]; a filter's bytes are MessagePack too, as `daq.acquire.filters` lays them out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from daq.acquire.filters import Filter
from daq.errors import FormatError

SCHEMA, VERSION = "scheelite.filters", 1


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    channel: str
    sha256: str
    filter: bytes


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    schema: str
    version: int
    filters: list[_Entry]


def filters_to_bytes(filters: Mapping[str, Filter]) -> bytes:
    """The same bytes for the same filters, whatever their order."""
    entries = [_Entry(name, filters[name].content_hash, filters[name].to_bytes()) for name in
               sorted(filters)]  # fmt: skip
    return msgspec.msgpack.encode(_Stored(SCHEMA, VERSION, entries))


def filters_from_bytes(stored: bytes) -> dict[str, Filter]:
    """Filters by channel; FormatError where the bytes are none, or not those that were written."""
    try:
        found = msgspec.msgpack.decode(stored, type=_Stored)
    # msgspec documents neither of the last two, yet bytes from a stranger can raise them
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"expected a file of filters, found {len(stored)} other bytes") from error
    if (found.schema, found.version) != (SCHEMA, VERSION):
        raise FormatError(
            f"expected {SCHEMA} version {VERSION}, found {found.schema} version {found.version}"
        )
    return {entry.channel: _checked(entry) for entry in found.filters}


def _checked(entry: _Entry) -> Filter:
    sha256 = hashlib.sha256(entry.filter).hexdigest()
    if sha256 != entry.sha256:
        raise FormatError(
            f"filter of {entry.channel}: expected the SHA-256 {entry.sha256[:12]}…, "
            f"found {sha256[:12]}…"
        )
    return Filter.from_bytes(entry.filter)
