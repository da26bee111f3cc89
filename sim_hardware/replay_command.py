"""The command that serves recorded pulses as a digitizer, once, to their end."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sim_hardware.face import Chunk, Conversation
from sim_hardware.faces.digitizer import DigitizerFace
from sim_hardware.ljh import LjhError, read_ljh
from sim_hardware.replay import Input, ReplaySource
from sim_hardware.serve import HOST, Loop, PortError, listen

UNUSABLE = 2  # exit code

Name = Annotated[str, Field(min_length=1, max_length=64)]


class SpecError(ValueError):
    """A replay that cannot be, said in one sentence or, for its settings, in one per mistake."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ReplayFile(_Table):
    """A file of pulses, and the channel that replays it."""

    path: Path
    channel: Name


class ReplaySpec(_Table):
    """What is replayed, and how. Relative paths count from where the command is started."""

    name: Name = Field(description="of the digitizer")
    files: tuple[ReplayFile, ...] = Field(min_length=1, max_length=64)
    noise: tuple[Path | None, ...] = Field(
        default=(), description="for each file one of the same channel's noise, or null"
    )
    rate_hz: float | None = Field(
        default=None, ge=1e-3, le=1e6, description="records per second; null: at recorded times"
    )
    seed: int = Field(default=1, ge=0, lt=2**63, description="of the noise between the records")
    layout: Path | None = Field(
        default=None, description="JSON file to write that says where each record lies"
    )

    @model_validator(mode="after")
    def _noise_for_each(self) -> ReplaySpec:
        if len(self.noise) not in (0, len(self.files)):
            expected = f"expected {len(self.files)} noise files or null, one for each file, or none"
            raise ValueError(f"{expected} at all, found {len(self.noise)}")
        return self


class ReplayFace:
    """A digitizer that waits for its reader, and tells when all of it was read."""

    model, max_clients = DigitizerFace.model, DigitizerFace.max_clients
    refusal = DigitizerFace.refusal

    def __init__(self, source: ReplaySource, stream: str, ended: Callable[[], None]) -> None:
        self._digitizer = DigitizerFace(source, pace="flat-out", memory_s=0.0, stream=stream)
        self.complaints = self._digitizer.complaints
        self._length, self._ended = source.length, ended

    def connect(self, now_s: float) -> Conversation:
        """Greet a client."""
        return _Reading(self._digitizer.connect(now_s), self._done)

    def _done(self, now_s: float) -> None:
        if self._digitizer.memory.next(now_s) >= self._length:
            self._ended()


class _Reading:
    """A conversation that knows when its last word is out: something else is asked then."""

    def __init__(self, talk: Conversation, done: Callable[[float], None]) -> None:
        self._talk, self._done = talk, done
        self.over = False

    def receive(self, received: bytes, now_s: float) -> None:
        """Pass it on; nothing received means that the client has left."""
        self._talk.receive(received, now_s)
        if not received:
            self._finish(now_s)

    def send(self, now_s: float) -> Sequence[Chunk]:
        """What the client gets next; nothing after the last word."""
        said = self._talk.send(now_s)
        if not said:
            self._finish(now_s)
        return said

    def wait_s(self, now_s: float) -> float | None:
        """At once, as long as there is something to say or to finish."""
        return 0.0 if self._talk.over else self._talk.wait_s(now_s)

    def _finish(self, now_s: float) -> None:
        self.over = self._talk.over
        if self.over:
            self._done(now_s)


def replay(
    spec: Annotated[Path, typer.Argument(help="What to replay, as JSON.")],
    json_: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Serve recorded pulses as a digitizer until all was read, or until SIGTERM or SIGINT."""
    try:
        _serve(read_spec(spec), json_)
    except (SpecError, LjhError, PortError) as error:
        typer.echo(error, err=True)
        raise typer.Exit(UNUSABLE) from None


def read_spec(path: Path) -> ReplaySpec:
    """The spec in a JSON file; SpecError with every mistake, each with its place."""
    try:
        return ReplaySpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path}: expected a replay as JSON, found: {error.strerror}") from error
    except ValidationError as error:
        mistakes = [
            f"  {'.'.join(map(str, each['loc'])) or 'replay'}: {each['msg']}"
            for each in error.errors()
        ]
        raise SpecError("\n".join([f"{path}: expected a replay, found", *mistakes])) from error


def open_source(spec: ReplaySpec) -> ReplaySource:
    """The source that a spec describes; LjhError where its files cannot be replayed."""
    noise = spec.noise or (None,) * len(spec.files)
    inputs = [
        Input(file.channel, read_ljh(file.path), read_ljh(quiet) if quiet else None)
        for file, quiet in zip(spec.files, noise, strict=True)
    ]
    return ReplaySource(spec.name, inputs, record_rate_hz=spec.rate_hz, seed=spec.seed)


def layout(source: ReplaySource) -> dict[str, Any]:
    """Where each record lies, as JSON takes it. Any: JSON.

    `records` are rows of record, start, stop and the record's index at `start`; `rises` are
    samples of the stream.
    """
    triggers = source.suggested_trigger()
    return {
        "rate_hz": source.rate_hz,
        "length": source.length,
        "notes": source.notes,
        "channels": {
            channel: {
                "trigger": triggers[channel],
                "counts_offset": source.counts_offset(channel),
                "record_length": source.record_length(channel),
                "presamples": source.presamples(channel),
                "rises": source.rises(channel).tolist(),
                "records": [
                    [piece.record, piece.start, piece.stop, piece.first]
                    for piece in source.source_of(channel, 0, source.length)
                ],
            }
            for channel in source.channels
        },
    }


def _serve(spec: ReplaySpec, as_json: bool) -> None:
    source = open_source(spec)
    if spec.layout is not None:
        _write(spec.layout, layout(source))
    listener = listen(spec.name, 0)
    face = ReplayFace(source, uuid4().hex, lambda: loop.stop())
    loop = Loop([(listener, face)], time.monotonic)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    resource = f"tcp://{HOST}:{listener.getsockname()[1]}"
    said = {"name": spec.name, "model": face.model, "resource": resource}
    typer.echo(json.dumps(said) if as_json else "{name}: {model} at {resource}".format(**said))
    loop.run()


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content))
    except OSError as error:
        raise SpecError(f"{path}: cannot be written: {error.strerror}") from error
