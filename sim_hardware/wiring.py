"""The settings that say which wire goes where on a bench, and what hangs on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

SQUIDS: Mapping[str, tuple[str, ...]] = {  # the channels of each electronics that read a SQUID
    "magnicon-xxf1": ("1", "2"),
    "starcryo-pfl102": tuple(map(str, range(1, 9))),
}
OUTPUTS: Mapping[str, tuple[str, ...]] = {"keysight33500b": ("1", "2")}
EXPECTED = 'expected "instrument:channel"'

Name = Annotated[str, Field(min_length=1, max_length=64)]


class Plug(NamedTuple):
    """A channel of an instrument, where a wire is plugged in."""

    instrument: str
    channel: str

    def __str__(self) -> str:
        return f"{self.instrument}:{self.channel}"


def _plug(value: object) -> object:
    if isinstance(value, Plug):
        return value
    match = re.fullmatch(r"([^:]+):([^:]+)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{EXPECTED}, found {value!r}")
    return Plug(match[1], match[2])


Socket = Annotated[Plug, BeforeValidator(_plug), PlainSerializer(str, return_type=str)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BenchWiring(_Table):
    """Which wire goes where; what is not wired keeps its working point for ever."""

    squids: dict[Name, Socket] = Field(
        default={}, description="target channel -> the SQUID electronics that reads it"
    )
    heater: Socket | None = Field(
        default=None, description="the generator's output at all crystals' heaters"
    )
    heater_ohm: float = Field(default=10e3, ge=1.0, le=1e9, description="of each heater [ohm]")
    heater_attenuation_db: float = Field(
        default=80.0, ge=0.0, le=200.0, description="between the generator and each heater [dB]"
    )
    bias: Socket | None = Field(
        default=None, description="the generator's output at all TES bias lines"
    )
    bias_ohm: float = Field(
        default=1e6, ge=1e3, le=1e9, description="that turns its volts into bias [ohm]"
    )
    flux: Socket | None = Field(
        default=None, description="the generator's output at all SQUIDs' flux lines"
    )
    flux_ohm: float = Field(
        default=100e3, ge=1e2, le=1e9, description="that turns its volts into flux [ohm]"
    )
    sync: dict[Name, Socket] = Field(
        default={}, description="channel of kind sync -> the output whose sync it shows"
    )

    def mistakes(self, kinds: Mapping[str, str], models: Mapping[str, str]) -> Iterator[str]:
        """What does not fit the channels' kinds and the instruments' models."""
        yield from self._wrong_channels("squids", self.squids, "target", kinds)
        yield from self._wrong_channels("sync", self.sync, "sync", kinds)
        for channel, plug in self.squids.items():
            yield from _wrong_plug(f"squids.{channel}", plug, SQUIDS, models)
        for channel, plug in self.sync.items():
            yield from _wrong_plug(f"sync.{channel}", plug, OUTPUTS, models)
        for name, output in self.outputs.items():
            yield from _wrong_plug(name, output, OUTPUTS, models)
        for plug, count in Counter(self.squids.values()).items():
            if count > 1:
                readers = ", ".join(c for c, p in self.squids.items() if p == plug)
                yield f"squids: expected one channel at {plug}, found {readers}"

    @property
    def outputs(self) -> dict[str, Plug]:
        """The generator's outputs by what they drive."""
        wired = {"heater": self.heater, "bias": self.bias, "flux": self.flux}
        return {name: plug for name, plug in wired.items() if plug is not None}

    def _wrong_channels(
        self, name: str, wired: Mapping[str, Plug], kind: str, kinds: Mapping[str, str]
    ) -> Iterator[str]:
        for channel in wired:
            if kinds.get(channel) != kind:
                found = kinds.get(channel, "none of that name")
                yield f"{name}.{channel}: expected a channel of kind {kind}, found {found}"


Initial = Literal["tuned", "detuned"]


def _wrong_plug(
    place: str, plug: Plug, known: Mapping[str, tuple[str, ...]], models: Mapping[str, str]
) -> Iterator[str]:
    model = models.get(plug.instrument, "no instrument of that name")
    if model not in known:
        expected = " or ".join(known)
        yield f"{place}: expected an instrument {expected} as {plug.instrument}, found {model}"
    elif plug.channel not in known[model]:
        expected = ", ".join(known[model])
        yield f"{place}: expected a channel of {model} ({expected}), found {plug.channel}"
