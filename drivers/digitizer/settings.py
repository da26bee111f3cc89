"""What the config says of any digitizer; a driver with settings of its own adds its keys."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from daq.errors import UsageError
from daq.settings import sections

_TCP = re.compile(r"\Atcp://[A-Za-z0-9_.-]+:[0-9]{1,5}\Z")
_DEVICE = re.compile(r"\A[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_CARD = re.compile(r"\A(/dev/spcm[0-9]+|TCPIP::[A-Za-z0-9_.-]+(::inst[0-9]+)?(::INSTR)?)\Z")


class DigitizerSettings(sections.Digitizer):
    """One digitizer."""

    device: str = Field(
        "", max_length=64, description="What it calls itself; as this section where not given."
    )
    buffer_s: float = Field(30.0, ge=1, le=3600, description="Samples kept for an absent core [s].")
    buffer_bytes: float = Field(
        2e9, ge=1e6, le=1e12, description="Samples kept for an absent core, at most [bytes]."
    )


def _distinct(inputs: list[int]) -> list[int]:
    for at, number in enumerate(inputs):
        if number in inputs[:at]:
            raise ValueError(f"expected each input once, found {number} twice")
    return inputs


def _tcp(text: str) -> str:
    if not _TCP.match(text):
        raise ValueError(f"expected tcp://HOST:PORT, found {text!r}")
    return text


def device_name(text: str) -> str:
    """The name of an NI device; ValueError for anything else, such as a channel of one."""
    if not _DEVICE.match(text):
        raise ValueError(f"expected the name of a device such as PXI1Slot2, found {text!r}")
    return text


def spectrum_card(text: str) -> str:
    """The identifier of a Spectrum card; ValueError for anything else."""
    if not _CARD.match(text):
        raise ValueError(
            f"expected /dev/spcmN or TCPIP::HOST::inst0::INSTR of a card, found {text!r}"
        )
    return text


Address = Annotated[str, AfterValidator(_tcp)]
Input = Annotated[int, Field(ge=0, le=255)]
Inputs = Annotated[list[Input], Field(min_length=1), AfterValidator(_distinct)]
S = TypeVar("S", bound=DigitizerSettings)


def own(settings: DigitizerSettings, kind: type[S]) -> S:
    """`settings` as a driver's own kind; UsageError where they were made for another model."""
    if not isinstance(settings, kind):
        raise UsageError(f"expected {kind.__name__}, found {type(settings).__name__}")
    return settings
