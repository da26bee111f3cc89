"""Bytes to messages and back; what cannot be understood is refused by name."""

from __future__ import annotations

from functools import cache, reduce
from operator import or_
from typing import Any, TypeVar

import msgspec

from daq.errors import VersionError, WireError
from daq.wire import schemas

M = TypeVar("M", bound=schemas.Message)


class _Envelope(msgspec.Struct):
    schema: str
    version: int = 0


_ENVELOPE = msgspec.json.Decoder(_Envelope)
# msgspec documents neither of the last two, yet bytes from a stranger can raise them
_BAD_BYTES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode(message: schemas.Message) -> bytes:
    """The header frame of a message."""
    return msgspec.json.encode(message)


def decode(frame: bytes | memoryview, *kinds: type[M]) -> M:
    """The message of one of `kinds` in a header frame.

    Raises VersionError for a known schema in another version, WireError for anything else that
    is not one of `kinds`.
    """
    try:
        message: M = _decoder(kinds).decode(frame)
    except _BAD_BYTES as error:
        raise _refusal(frame, kinds, error) from error
    if message.version != schemas.VERSION:
        raise _version_error(kinds, message.version)
    return message


@cache
def _decoder(kinds: tuple[type[schemas.Message], ...]) -> msgspec.json.Decoder[Any]:
    # Any: msgspec types a decoder by one class, and this one decodes a union made at run time
    return msgspec.json.Decoder(reduce(or_, kinds))


def _refusal(frame: bytes | memoryview, kinds: tuple[type[M], ...], error: Exception) -> WireError:
    """What to say of bytes that are none of `kinds`: another version is named before all else."""
    try:
        envelope = _ENVELOPE.decode(frame)
    except _BAD_BYTES:
        return WireError(f"expected {_names(kinds)}, found {len(frame)} bytes that are no header")
    if envelope.version != schemas.VERSION:
        return _version_error(kinds, envelope.version)
    return WireError(f"expected {_names(kinds)}, found {envelope.schema!r}: {error}")


def _version_error(kinds: tuple[type[M], ...], found: int) -> VersionError:
    return VersionError(
        f"expected {_names(kinds)} in version {schemas.VERSION}, found version {found}"
    )


def _names(kinds: tuple[type[M], ...]) -> str:
    return " or ".join(str(kind.__struct_config__.tag) for kind in kinds)
