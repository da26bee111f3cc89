"""The messages between services, typed and versioned.

Every header carries `schema` (its tag) and `version`; `codec.decode` refuses another by name.
Arrays travel as their own frame after the header, never inside it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

VERSION = 1

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Positive = Annotated[float, Meta(ge=1e-30, le=1e30)]
Rate = Annotated[float, Meta(ge=1e-3, le=1e12)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=4096)]


class Message(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", kw_only=True
):
    """What every header has."""

    version: int = VERSION
    seq: Count = 0


# --- blocks: DEALER (digitizer service) <-> ROUTER (core) ------------------------------------


class AnchorItem(msgspec.Struct, frozen=True, array_like=True):
    """(sample, t_ns)."""

    sample: Count
    t_ns: Count


class GapItem(msgspec.Struct, frozen=True, array_like=True):
    """(start, stop, exact, cause) of samples lost."""

    start: Count
    stop: Count
    exact: bool
    cause: Annotated[str, Meta(max_length=16)]


class SharedItem(msgspec.Struct, frozen=True, array_like=True):
    """(pid, fd, token, at): samples lie at byte `at` of memory that process `pid` shares."""

    pid: Count
    fd: Count
    token: Name
    at: Count


class StreamHello(Message, frozen=True, tag="stream-hello"):
    """Digitizer to core, at connect and whenever the stream begins anew.

    `epoch` names one uninterrupted numbering of samples. Samples [oldest, newest) can be sent
    again. `can_wait` is true for a source that stops while nobody reads (replay).
    """

    digitizer: Name
    epoch: Name
    channels: Annotated[list[Name], Meta(min_length=1, max_length=1024)]
    rate_hz: Rate
    volts_per_count: Positive
    oldest: Count
    newest: Count
    can_wait: bool = False
    anchors: list[AnchorItem] = []

    def __post_init__(self) -> None:
        """Refuse what no digitizer can be."""
        if self.oldest > self.newest:
            raise ValueError(f"expected oldest up to newest {self.newest}, found {self.oldest}")


class StreamWant(Message, frozen=True, tag="stream-want"):
    """Core to digitizer: send `epoch` from `start` on; `credit` bytes may be on the way.

    `asked` comes back in each block. `shared`: they may lie in memory, in another than that of an
    earlier StreamWant.
    """

    epoch: Name
    start: Count
    asked: Count
    credit: Count
    shared: bool = False


class BlockHeader(Message, frozen=True, tag="block"):
    """Digitizer to core; the next frame is int16 little-endian [channel, sample], or they lie in
    `shared` memory and there is no frame.

    Gaps are the stretches that were lost between the previous block sent and this one; they end
    at or before `start`.
    """

    digitizer: Name
    epoch: Name
    asked: Count
    start: Count
    n_channels: Count
    n_samples: Count
    anchors: list[AnchorItem] = []
    gaps: list[GapItem] = []
    shared: SharedItem | None = None


class StreamEnd(Message, frozen=True, tag="stream-end"):
    """Digitizer to core: the stream is over after sample `stop` (a replayed file)."""

    digitizer: Name
    epoch: Name
    stop: Count


class StreamAck(Message, frozen=True, tag="stream-ack"):
    """Core to digitizer: what is before `durable` in `epoch` need not be kept; `credit` bytes in
    all since the StreamWant may have been sent. `free` bytes in all of those that lay in the memory
    `token` were read for good."""

    epoch: Name
    durable: Count
    credit: Count
    token: Annotated[str, Meta(max_length=64)] = ""
    free: Count = 0


# --- commands: ROUTER <- DEALER ---------------------------------------------------------------


class Request(Message, frozen=True, tag="request"):
    """One verb with its arguments; `id` comes back in the reply.

    `who` is the operator as the log names him, `ticket` what he took the control lease with.
    """

    id: Count
    verb: Name
    who: Annotated[str, Meta(max_length=64)] = ""
    ticket: Annotated[str, Meta(max_length=64)] = ""
    arguments: dict[str, Any] = {}  # Any: each verb's own struct checks them


class ErrorItem(msgspec.Struct, frozen=True):
    """An error on the wire."""

    name: Name
    message: Text
    retryable: bool = False


class Reply(Message, frozen=True, tag="reply"):
    """Exactly one of result and error counts; `error` is None where the verb was done."""

    id: Count
    result: dict[str, Any] = {}
    error: ErrorItem | None = None


# --- state: XPUB, the latest value, also to who comes late ------------------------------------


class State(Message, frozen=True, tag="state"):
    """The latest state of a service; `body` is the service's own (documented beside it).

    `progress` counts work done: a service whose progress stands still while it should move hangs.
    """

    service: Name
    pid: Count
    boot: Name
    state: Name
    t_ns: Count
    progress: Count = 0
    body: dict[str, Any] = {}


# --- raw: ROUTER <- DEALER, guaranteed --------------------------------------------------------


class RawRequest(Message, frozen=True, tag="raw-request"):
    """The next `n_samples` of `channel`, undecimated: none before sample number `not_before`, and
    none converted before the UTC `not_before_ns`."""

    id: Count
    channel: Name
    n_samples: Annotated[int, Meta(ge=1, le=2**26)]
    not_before: Count = 0
    not_before_ns: Count = 0


class RawReply(Message, frozen=True, tag="raw-reply"):
    """Contiguous samples from `start`; the next frame is int16 little-endian. Or an error."""

    id: Count
    channel: Name
    start: Count = 0
    rate_hz: Finite = 0.0
    volts_per_count: Finite = 0.0
    error: ErrorItem | None = None


# --- traces and pulses: PUB, for eyes ---------------------------------------------------------


class Traces(Message, frozen=True, tag="traces"):
    """Minimum and maximum per bin for channels of one digitizer.

    The next frame is float32 [channel, bin, 2] in volts (minimum, maximum); bin i covers the
    `bin_samples` samples from `start + i * bin_samples`. `triggers` are (channel index in
    `channels`, sample).
    """

    digitizer: Name
    channels: list[Name]
    start: Count
    bin_samples: Count
    rate_hz: Finite
    t_ns: Count
    triggers: list[tuple[Count, Count]] = []


class Curve(msgspec.Struct, frozen=True):
    """One curve of a picture, in the units of its axes; `points` where it was measured so."""

    name: Text
    x: Annotated[list[Finite], Meta(max_length=2048)]
    y: Annotated[list[Finite], Meta(max_length=2048)]
    points: bool = False


class Progress(Message, frozen=True, tag="progress"):
    """How far a procedure has come at one detector: run control shows what is told to it.

    `step` such as "v-phi"; `fraction` of it is done, of which `text` tells. It "runs", or has
    "passed" or "failed", or is "over" without a verdict. The curves are all of the step so far.
    """

    at: Name
    step: Name
    state: Literal["runs", "passed", "failed", "over"]
    t_ns: Count
    text: Text = ""
    fraction: Finite = 0.0
    title: Text = ""
    x_label: Text = ""
    y_label: Text = ""
    curves: Annotated[list[Curve], Meta(max_length=16)] = []


class Pulses(Message, frozen=True, tag="pulses"):
    """Some records of one channel; frames follow: RECORD rows, then int16 [record, sample]."""

    channel: Name
    n_records: Count
    record_length: Count
    pretrigger: Count
    rate_hz: Finite
    volts_per_count: Finite
