"""The sections of the config that say which instruments and digitizers there are, and where."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, RootModel

from daq.errors import UsageError
from daq.settings.sections import Name, Section
from drivers.catalogue import check_model
from drivers.transport import check_resource

_STREAM = re.compile(r"\Atcp://[A-Za-z0-9_.-]+:[0-9]{1,5}\Z")


def _model(name: str) -> str:
    try:
        return check_model(name)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _resource(text: str) -> str:
    try:
        return check_resource(text)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _stream(text: str) -> str:
    if not _STREAM.match(text):
        raise ValueError(f"expected tcp://HOST:PORT, found {text!r}")
    return text


Model = Annotated[str, AfterValidator(_model)]


class Instrument(Section):
    """One instrument."""

    model: Model = Field(description="Its driver's name.")
    resource: Annotated[str, AfterValidator(_resource)] = Field(description="Its VISA resource.")
    poll_s: float = Field(1.0, ge=0.05, le=3600, description="Readings are taken this often [s].")
    slow_poll_s: float = Field(
        60.0, ge=1, le=86400, description="Settings are read back this often [s]."
    )
    channels: list[int] | None = Field(
        None, description="Its channels in use; all where it is not given."
    )


class Digitizer(Section):
    """One digitizer."""

    model: Model = Field(description="Its driver's name.")
    resource: Annotated[str, AfterValidator(_stream)] = Field(description="tcp://HOST:PORT of it.")
    device: str = Field(
        "", max_length=64, description="What it calls itself; as this section where not given."
    )
    buffer_s: float = Field(30.0, ge=1, le=3600, description="Samples kept for an absent core [s].")
    buffer_bytes: float = Field(
        2e9, ge=1e6, le=1e12, description="Samples kept for an absent core, at most [bytes]."
    )
    silent_after_s: float = Field(
        5.0, ge=0.2, le=3600, description="It counts as silent after this time without samples [s]."
    )


class Instruments(RootModel[dict[Name, Instrument]]):
    """Instruments by name."""

    model_config = ConfigDict(frozen=True, strict=True)


class Digitizers(RootModel[dict[Name, Digitizer]]):
    """Digitizers by name."""

    model_config = ConfigDict(frozen=True, strict=True)
