"""Messages from the services, taken apart and checked once, ready to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq.errors import WireError
from daq.model.record import RECORD, plain
from daq.wire import codec
from daq.wire.schemas import Progress, Pulses, State, Traces

ROW: Final = plain(RECORD)
MIN_RATE_HZ = 1e-3  # slower than this is no digitizer, and times would overflow
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TraceFrame:
    """A stretch of one digitizer's channels; `values` is float32 [channel, bin, 2] in volts."""

    header: Traces
    values: Floats


@dataclass(frozen=True, slots=True)
class PulseFrame:
    """Some records of one channel: `rows` of RECORD, `samples` int16 [record, sample]."""

    header: Pulses
    rows: npt.NDArray[np.void]
    samples: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Missed:
    """Messages for the eye that were sent and not shown."""

    n_messages: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """A message from a service that could not be understood."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command; `refusal` is empty where it was done."""

    verb: str
    refusal: str = ""
    service: str = "run"
    result: dict[str, Any] = field(default_factory=dict)  # Any: each verb has its own
    tag: str = ""  # what the asker wants to know it by


@dataclass(frozen=True, slots=True)
class Stream:
    """A stretch of one channel as the digitizer has it: volts at `rate_hz`."""

    channel: str
    volts: npt.NDArray[np.float64]
    rate_hz: float


@dataclass(frozen=True, slots=True)
class Examined:
    """What the doctor found: links of the chain from the digitizers to the file."""

    links: list[dict[str, Any]]  # Any: {"link", "ok", "said", "mend"}


@dataclass(frozen=True, slots=True)
class TuneLine:
    """What the tuning of a channel ("undo" for one that is taken back) said."""

    what: str
    text: str


Item = (
    TraceFrame | PulseFrame | State | Progress | Missed | Trouble | Answer | Stream | Examined
    | TuneLine
)  # fmt: skip


def parse_traces(frames: Sequence[bytes]) -> TraceFrame:
    """The trace of [topic, header, values]; WireError for anything else."""
    _, head, payload = _exactly(frames, 3)
    header = codec.decode(head, Traces)
    n_channels = len(header.channels)
    if n_channels == 0 or header.bin_samples == 0 or header.rate_hz < MIN_RATE_HZ:
        raise WireError(
            "expected traces with channels, samples per bin and a rate, found "
            f"{n_channels}, {header.bin_samples} and {header.rate_hz:g} Hz"
        )
    if len(payload) == 0 or len(payload) % (8 * n_channels):
        raise WireError(
            f"expected pairs of float32 for {n_channels} channels, found {len(payload)} bytes"
        )
    strangers = [index for index, _ in header.triggers if index >= n_channels]
    if strangers:
        raise WireError(f"expected triggers of {n_channels} channels, found index {strangers[0]}")
    return TraceFrame(header, np.frombuffer(payload, "<f4").reshape(n_channels, -1, 2))


def parse_pulses(frames: Sequence[bytes]) -> PulseFrame:
    """The records of [topic, header, rows, samples]; WireError for anything else."""
    _, head, rows, samples = _exactly(frames, 4)
    header = codec.decode(head, Pulses)
    if header.n_records == 0 or header.record_length == 0 or header.rate_hz < MIN_RATE_HZ:
        raise WireError(
            "expected pulses with records, samples and a rate, found "
            f"{header.n_records}, {header.record_length} and {header.rate_hz:g} Hz"
        )
    _expect_bytes("rows", rows, header.n_records * ROW.itemsize)
    _expect_bytes("samples", samples, header.n_records * header.record_length * 2)
    shaped = np.frombuffer(samples, "<i2").reshape(header.n_records, header.record_length)
    return PulseFrame(header, np.frombuffer(rows, ROW), shaped)


def parse_state(frames: Sequence[bytes]) -> State:
    """The state of [service, header]; WireError for anything else."""
    _, head = _exactly(frames, 2)
    return codec.decode(head, State)


def parse_progress(frames: Sequence[bytes]) -> Progress:
    """The progress of [topic, header]; WireError for anything else."""
    _, head = _exactly(frames, 2)
    row = codec.decode(head, Progress)
    for curve in row.curves:
        if len(curve.x) != len(curve.y):
            raise WireError(f"expected {len(curve.x)} values of a curve, found {len(curve.y)}")
    return row


def _exactly(frames: Sequence[bytes], n_frames: int) -> Sequence[bytes]:
    if len(frames) != n_frames:
        raise WireError(f"expected {n_frames} frames, found {len(frames)}")
    return frames


def _expect_bytes(what: str, frame: bytes, n_bytes: int) -> None:
    if len(frame) != n_bytes:
        raise WireError(f"expected {n_bytes} bytes of {what}, found {len(frame)}")
