"""The sections of the config that belong to the acquisition itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
    model_validator,
)

NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"  # pydantic: $ is the very end, no newline
Name = Annotated[str, Field(pattern=NAME)]
_LOOPBACK = re.compile(r"\A(ipc://[^#]+|tcp://(127\.0\.0\.1|localhost):[0-9]{1,5})\Z")
_BEYOND = re.compile(r"\Atcp://([A-Za-z0-9.-]+|\*):[0-9]{1,5}\Z")


class Section(BaseModel):
    """What every section has in common: no unknown key, no silent conversion, no change later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Experiment(Section):
    """What the data are called and where they go."""

    name: Name = Field(description="Name of the experiment, part of every file.")
    data_dir: Annotated[str, Field(min_length=1)] = Field(
        "runs", description="Folder of the run folders; relative to the working folder."
    )
    comment: str = Field("", max_length=2000, description="Goes into every run.")


def _place(endpoint: str) -> str:
    if not _LOOPBACK.match(endpoint) and not _BEYOND.match(endpoint):
        raise ValueError(f"expected ipc://PATH or tcp://HOST:PORT, found {endpoint!r}")
    return endpoint


Endpoint = Annotated[str, AfterValidator(_place)]
SOCKETS = re.compile(
    r"\A(core\.(blocks|commands|raw|state|traces|pulses)|folder\.(commands|state)"
    r"|run\.(commands|state)|instruments\.(commands|state)"
    r"|digitizer\.[A-Za-z][A-Za-z0-9_-]*\.(commands|state))\Z"
)


class Endpoints(RootModel[dict[str, Endpoint]]):
    """Where every socket is: `base`/NAME, or what is written for NAME itself."""

    model_config = ConfigDict(frozen=True, strict=True)

    @model_validator(mode="after")
    def _names_known(self) -> Endpoints:
        unknown = [n for n in self.root if n != "base" and not SOCKETS.match(n)]
        if unknown:
            raise ValueError(f"expected base or a socket such as core.blocks, found {unknown[0]!r}")
        if "base" in self.root and not self.root["base"].startswith("ipc://"):
            raise ValueError(f"expected base to be ipc://FOLDER, found {self.root['base']!r}")
        return self

    @property
    def beyond(self) -> dict[str, str]:
        """The sockets that other machines may reach, which needs keys."""
        return {name: at for name, at in self.root.items() if not _LOOPBACK.match(at)}

    def of(self, socket: str, runtime: Path) -> str:
        """The endpoint of a socket; {runtime} is the folder of this user's sockets."""
        base = self.root.get("base", "ipc://{runtime}")
        return self.root.get(socket, f"{base}/{socket}").replace("{runtime}", str(runtime))


class Security(Section):
    """What guards the sockets that other machines may reach."""

    keys: Annotated[str, Field(min_length=1, pattern=r"^[^#]+$")] = Field(
        description="Folder of CurveZMQ keys; scheelite keys makes it."
    )


class Copy(Section):
    """Where sealed files are copied to, how that is proven, and how long they then stay here."""

    to: str = Field("", description="Folder of another disk, which must be there.")
    command: str = Field("", description="Or a command, such as rsync -a {source} host:{run}/.")
    proof: str = Field("", description="Prints the copy's SHA-256: ssh host sha256sum {run}/{name}")
    keep_days: float | None = Field(
        None, gt=0, le=36500, description="A proven run is deleted here after this [days]."
    )
    keep_bytes: int | None = Field(
        None,
        ge=0,
        le=1 << 50,
        description="The oldest proven ones go beyond this [bytes].",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Copy:
        if bool(self.to) == bool(self.command):
            raise ValueError("expected either to or command, found both or none")
        if self.command and not self.proof:
            raise ValueError("expected a proof for the command, found none")
        return self


class Storage(Section):
    """How records reach the disk."""

    sync_s: float = Field(0.1, gt=0, le=10, description="Records are durable at least this often.")
    rotate_s: float = Field(60.0, ge=0.5, le=3600, description="A file is closed after this time.")
    rotate_bytes: int = Field(
        33_554_432, ge=1 << 20, le=1 << 30, description="A file is closed beyond this size."
    )
    compression: Literal["gzip", "bitshuffle-lz4", "none"] = Field(
        "gzip", description="Of the files: gzip opens everywhere, bitshuffle-lz4 is smaller."
    )

    raw: Literal["all", "none"] | list[Name] = Field(
        "none", description="Channels whose whole stream is recorded, too, or all, or none."
    )
    reserve_bytes: int = Field(
        1 << 30, ge=0, le=1 << 50, description="A run pauses while less than this is free [bytes]."
    )
    bytes_per_hour: int = Field(
        0, ge=0, le=1 << 50, description="What a run writes, for its start; 0: as triggers come."
    )

    copies: Copy | None = Field(None, alias="copy", description="A second place for the files.")

    @field_validator("compression")
    @classmethod
    def _can_be_made(cls, value: str) -> str:
        if value == "bitshuffle-lz4" and find_spec("hdf5plugin") is None:
            raise ValueError(
                "expected hdf5plugin for bitshuffle-lz4, found none: "
                "pip install 'scheelite[compress]'"
            )
        return value


class Events(Section):
    """What belongs together."""

    coincidence_window_s: float = Field(
        0.002, ge=0, le=1, description="Records closer than this to the last one join its event."
    )


class Trigger(Section):
    """How a kind of channel triggers: levels in ADC counts, lengths in record samples."""

    kind: Literal["level", "edge", "off"] = Field(description="Level, edge or no trigger.")
    threshold: float = Field(0.0, ge=-65536, le=65536, description="Fires at this level [counts].")
    rearm: float = Field(0.0, ge=-65536, le=65536, description="Arms again below this [counts].")
    falling: bool = Field(False, description="Pulses go down: both levels count downward.")
    edge_span: int = Field(4, ge=1, le=4096, description="Edge: x[i] - x[i - span] [samples].")
    holdoff: int = Field(0, ge=0, le=2**24, description="Shortest distance of triggers [samples].")

    @model_validator(mode="after")
    def _rearm_below(self) -> Trigger:
        if self.kind != "off" and self.rearm >= self.threshold:
            raise ValueError(
                f"expected rearm below the threshold {self.threshold:g}, found {self.rearm:g}"
            )
        return self


class Kind(Section):
    """What channels of one kind share."""

    decimation: int = Field(1, ge=1, le=64, description="Digitizer samples per record sample.")
    record_length: int = Field(ge=16, le=1 << 20, description="Samples of a record.")
    pretrigger: int = Field(ge=8, description="Samples of a record before its trigger.")
    trigger: Trigger

    @model_validator(mode="after")
    def _pretrigger_inside(self) -> Kind:
        if self.pretrigger >= self.record_length:
            raise ValueError(
                f"expected pretrigger below record_length {self.record_length}, "
                f"found {self.pretrigger}"
            )
        return self


class Kinds(RootModel[dict[Name, Kind]]):
    """Kinds of channels by name."""

    model_config = ConfigDict(frozen=True, strict=True)


class ChannelEntry(Section):
    """One detector readout chain."""

    kind: Name = Field(description="Which of [kinds] it is.")
    digitizer: Name = Field(description="Which of [digitizers] reads it.")
    input: int = Field(ge=0, le=1023, description="Input of that digitizer, from 0.")
    mass_g: float = Field(0.0, ge=0, le=1e6, description="Mass of the crystal [g]; 0: no target.")
    counts_offset: int = Field(
        0, ge=-65536, le=65536, description="Added to a sample gives the source's own counts."
    )


class Channels(RootModel[dict[Name, ChannelEntry]]):
    """Channels by name, in the order of the tables and pictures."""

    model_config = ConfigDict(frozen=True, strict=True)


class Digitizer(Section):
    """What the acquisition must know of any digitizer; its driver's section says the rest."""

    model: str = Field(description="Its driver's name.")
    resource: str = Field(min_length=1, max_length=200, description="Where it is.")
    silent_after_s: float = Field(
        5.0, ge=0.2, le=3600, description="It counts as silent after this time without samples [s]."
    )


class Digitizers(RootModel[Mapping[Name, Digitizer]]):
    """Digitizers by name; the drivers put their own sections in its place."""

    model_config = ConfigDict(frozen=True, strict=True)
