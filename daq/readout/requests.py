"""What a procedure may ask for, what it is answered, and how procedures are put together.

A procedure is a generator: it yields a Request, is sent the Answer that belongs to it, and returns
its result. It opens no socket and knows no clock; given the same answers it asks the same, so that
a journal of answers brings a fresh one to where another was interrupted. A request that fails is
raised in the procedure as the ScheeliteError that says why.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from daq.errors import ScheeliteError, by_name

R = TypeVar("R")
Value: TypeAlias = float | str | bool | dict[str, float | str | bool]
Volts = npt.NDArray[np.float64]


class StoppedError(ScheeliteError):
    """Somebody stopped the procedure; what it asks for from now on puts things back."""


class Request(msgspec.Struct, frozen=True, tag=True):
    """Something that a procedure asks for."""


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What a procedure is told."""


# --- instruments


class Put(Request, frozen=True):
    """Write `value`; answered by Held: what is held when it has settled.

    `at` is a detector ("C11"), whose `name`s are those of a SQUID channel in SI units ("bias",
    "flux", "offset", "mode", "feedback", "tes_bias", ...), or an instrument ("fridge"), whose
    names are those of its parameters ("setpoint").
    """

    at: str
    name: str
    value: Value


class Get(Request, frozen=True):
    """Read; `at` and `name` as in Put. Answered by Held."""

    at: str
    name: str


class Do(Request, frozen=True):
    """Let it act: "reset_loop", "heat" or "initialize" of a detector. Answered by Done."""

    at: str
    action: str


class Offers(Request, frozen=True):
    """What the electronics of a detector have. Answered by Offered."""

    at: str


class Generate(Request, frozen=True):
    """A wave at one of the generator's outputs that the config gives to a detector.

    `line` says at which: that on the bias of the TES, on its heater or on the SQUID's flux. The
    amplitude is peak to peak, as it is without load. For a "pulse", `amplitude_v` is its height
    above `offset_v` and `width_s` its length. Answered by Done when the wave stands.
    """

    at: str
    line: Literal["bias", "heater", "flux"]
    shape: Literal["sine", "square", "pulse"]
    frequency_hz: float
    amplitude_v: float
    offset_v: float = 0.0
    width_s: float = 0.0


class Silence(Request, frozen=True):
    """Switch that output off. Answered by Done."""

    at: str
    line: Literal["bias", "heater", "flux"]


class Held(Answer, frozen=True):
    """What is held: `source` is "read", or "shadow" where it cannot be asked."""

    value: Value
    unit: str = ""
    source: str = "read"

    @property
    def number(self) -> float:
        """The value, which must be a number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise ScheeliteError(f"expected a number, found {self.value!r}")
        return float(self.value)


class Offer(msgspec.Struct, frozen=True):
    """One thing that can be written, in SI units; `choices` is empty where any value is."""

    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[float | str | bool, ...] = ()
    source: str = "read"


class Offered(Answer, frozen=True):
    """What can be written by its name, and the actions there are."""

    values: dict[str, Offer]
    actions: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Whether there is a value or an action of that name."""
        return name in self.values or name in self.actions


# --- samples


class Average(Request, frozen=True):
    """Mean and spread of a channel over `seconds`, from `settle_s` after this is asked.

    Answered by Averaged. Only samples taken after everything that was written before count.
    """

    at: str
    seconds: float
    settle_s: float = 0.0


class Take(Request, frozen=True):
    """The next contiguous samples of a channel, from `settle_s` on. Answered by Taken.

    `samples` is their number; with `seconds` it is as many as the channel's rate makes of them.
    """

    at: str
    samples: int = 0
    seconds: float = 0.0
    settle_s: float = 0.0


class Averaged(Answer, frozen=True):
    """Mean and standard deviation in volts, of n samples.

    `swing` is how far the mean of one tenth of them is from that of most, in spreads within a
    tenth: a pulse makes it large.
    """

    mean_v: float
    std_v: float
    n: int
    start: int = 0
    swing: float = 0.0


class Taken(Answer, frozen=True):
    """Contiguous samples from sample number `start`; `counts` as converted, or already volts."""

    counts: npt.NDArray[np.generic]
    rate_hz: float
    volts_per_count: float = 1.0
    start: int = 0

    @property
    def volts(self) -> Volts:
        """The samples in V, float64."""
        return self.counts.astype(np.float64) * self.volts_per_count


# --- time


class Wait(Request, frozen=True):
    """Let that much time pass, by the digitizer's clock where there is one. Answered by Done."""

    seconds: float


class Meet(Request, frozen=True):
    """Go on when all procedures that run together wait for each other, or are at their ends.

    Then those of the least `stage` go on. Answered by Done.
    """

    at: str
    stage: int = 0


class WaitStable(Request, frozen=True):
    """Wait until a reading stays within `tolerance` of `target` for `dwell_s`.

    Answered by Settled, also where that was not so after `timeout_s`.
    """

    reading: Get
    target: float
    tolerance: float
    dwell_s: float
    timeout_s: float


class Settled(Answer, frozen=True):
    """Whether it became stable, the last reading, and after how long."""

    stable: bool
    value: float
    seconds: float


class Done(Answer, frozen=True):
    """It was done."""


# --- for who watches


class Say(Request, frozen=True):
    """Progress: `fraction` of the step that was begun last for `at`. Answered by Done."""

    at: str
    text: str
    fraction: float = 0.0
    values: dict[str, float] = {}


class Begin(Request, frozen=True):
    """A step begins; `expected` says when it will have passed. Answered by Done."""

    at: str
    step: str
    expected: str


class Picture(msgspec.Struct, frozen=True):
    """Curves for the report: name -> (x, y); `points` name those drawn as points."""

    title: str
    x_label: str
    y_label: str
    curves: dict[str, tuple[list[float], list[float]]]
    points: tuple[str, ...] = ()


class End(Request, frozen=True):
    """A step is over; `found` says what was seen where it did not pass. Answered by Done."""

    at: str
    step: str
    passed: bool
    values: dict[str, float] = {}
    found: str = ""
    pictures: tuple[Picture, ...] = ()


# --- several at once


Simple: TypeAlias = (
    Put | Get | Do | Offers | Generate | Silence | Average | Take | Wait | WaitStable | Meet
    | Say | Begin | End
)  # fmt: skip


class All(Request, frozen=True):
    """Several requests, at once where the hardware allows. Answered by Several, in their order."""

    requests: tuple[Simple, ...]


class Failed(Answer, frozen=True):
    """A request that failed; the error by its name on the wire."""

    name: str
    message: str

    @property
    def error(self) -> ScheeliteError:
        """The error itself."""
        return by_name(self.name)(self.message)


class Several(Answer, frozen=True):
    """One answer for each request; Failed for those that failed."""

    answers: tuple[Held | Offered | Averaged | Taken | Settled | Done | Failed, ...]


AnyRequest: TypeAlias = Simple | All
SimpleAnswer: TypeAlias = Held | Offered | Averaged | Taken | Settled | Done | Failed
AnyAnswer: TypeAlias = SimpleAnswer | Several
Procedure: TypeAlias = Generator[AnyRequest, AnyAnswer, R]


def failed(error: ScheeliteError) -> Failed:
    """An error as an answer."""
    return Failed(type(error).__name__, str(error))
