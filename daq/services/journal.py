"""The journal of a procedure: every request with its answer, so that it can go on after a crash.

A file of frames: length and CRC-32 of a MessagePack pair (request, answer). What was cut off at
its end was never answered; the request is asked again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
import numpy.typing as npt

from daq.errors import FormatError, RefusedError, ScheeliteError, StorageError
from daq.readout.procedures import Execute
from daq.readout.requests import (
    All,
    AnyAnswer,
    AnyRequest,
    Begin,
    Do,
    End,
    Failed,
    Generate,
    Put,
    Say,
    Silence,
    Simple,
    StoppedError,
    failed,
)

MAGIC = b"scheelite-journal 1\n"
FRAME = struct.Struct("<II")
Watch = Callable[[Say | Begin | End], None]
LONGEST = 1 << 30


def _encoded(value: object) -> object:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.tobytes()]
    raise NotImplementedError(f"expected an array, found {type(value).__name__}")


def _decoded(kind: type, value: object) -> object:
    del kind  # arrays are the only such type
    dtype, content = msgspec.convert(value, tuple[str, bytes])
    array: npt.NDArray[np.generic] = np.frombuffer(content, dtype)
    return array


_encoder = msgspec.msgpack.Encoder(enc_hook=_encoded)
_decoder = msgspec.msgpack.Decoder(tuple[AnyRequest, AnyAnswer], dec_hook=_decoded)


class Journal:
    """Answers from the file as long as it has some, and after that by `execute`, which it keeps.

    RefusedError where the procedure asks for something else than it did: then the journal is
    that of another config or version. What was said before is said again to `watch`.
    """

    def __init__(self, path: Path, execute: Execute, watch: Watch) -> None:
        self._path, self._execute, self._watch = path, execute, watch
        self._recorded = list(read_journal(path)) if path.exists() else []
        self._at = 0
        try:
            self._file = path.open("r+b" if self._recorded else "wb")
            self._file.seek(_intact(path)) if self._recorded else self._file.write(MAGIC)
            self._file.truncate()
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def n_recorded(self) -> int:
        """Answers that were there."""
        return len(self._recorded)

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        """The answer, recorded or new; what was answered is in the file before it is told."""
        if self._at < len(self._recorded):
            return self._replayed(request)
        if self._at == len(self._recorded) and self._recorded:
            self._at += 1
            for last in standing(self._recorded):
                self._execute(last)  # somebody may have changed it meanwhile
        try:
            answer = self._execute(request)
        except StoppedError:
            raise  # who goes on asks again
        except ScheeliteError as error:
            self._keep(request, failed(error))
            raise
        self._keep(request, answer)
        return answer

    def _replayed(self, request: AnyRequest) -> AnyAnswer:
        known, answer = self._recorded[self._at]
        if known != request:
            raise RefusedError(
                f"{self._path}: expected the same procedure as in the journal, which asked for "
                f"{known!r}, found {request!r}; begin anew without --resume"
            )
        self._at += 1
        for each in request.requests if isinstance(request, All) else (request,):
            if isinstance(each, Say | Begin | End):
                self._watch(each)
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    def _keep(self, request: AnyRequest, answer: AnyAnswer) -> None:
        content = _encoder.encode((request, answer))
        try:
            self._file.write(FRAME.pack(len(content), zlib.crc32(content)) + content)
            self._file.flush()
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error


def read_journal(path: Path) -> Iterator[tuple[AnyRequest, AnyAnswer]]:
    """What is whole in a journal; FormatError where it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    if not content.startswith(MAGIC):
        raise FormatError(f"{path}: expected a journal of procedures, found something else")
    for frame in _frames(content):
        try:
            yield _decoder.decode(frame)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise FormatError(f"{path}: expected a request and its answer: {error}") from error


def standing(recorded: list[tuple[AnyRequest, AnyAnswer]]) -> list[Simple]:
    """What was written last, of each value and each output, in the order of the last writing."""
    last: dict[tuple[str, str], Simple] = {}
    for request, answer in recorded:
        if isinstance(answer, Failed):
            continue
        for each in request.requests if isinstance(request, All) else (request,):
            if isinstance(each, Put):
                key = (each.at, each.name)
            elif isinstance(each, Generate | Silence):
                key = (each.at, f"wave on {each.line}")
            elif isinstance(each, Do):
                last.pop((each.at, "mode"), None)  # it left the loop as it does
                key = (each.at, "mode")
            else:
                continue
            last.pop(key, None)
            last[key] = each
    return list(last.values())


def _frames(content: bytes) -> Iterator[bytes]:
    at = len(MAGIC)
    while at + FRAME.size <= len(content):
        length, crc = FRAME.unpack_from(content, at)
        frame = content[at + FRAME.size : at + FRAME.size + length]
        if length > LONGEST or len(frame) < length or zlib.crc32(frame) != crc:
            return
        yield frame
        at += FRAME.size + length


def _intact(path: Path) -> int:
    """Where the whole frames end."""
    return len(MAGIC) + sum(FRAME.size + len(frame) for frame in _frames(path.read_bytes()))
