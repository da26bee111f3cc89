"""The sections of the config that say which instruments and digitizers there are, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from daq.errors import UsageError
from daq.settings import sections
from daq.settings.sections import Name, Section
from daq.settings.watch import Order
from drivers import catalogue
from drivers import instrument as driver
from drivers.catalogue import check_model
from drivers.describe import units
from drivers.digitizer.settings import DigitizerSettings
from drivers.orders import cannot_write

_EXTRAS = ("stages", "bridge", "key_file", "self_signed", "zone")


def _model(name: str) -> str:
    try:
        return check_model(name)
    except UsageError as error:
        raise ValueError(str(error)) from error


Model = Annotated[str, AfterValidator(_model)]
Stage = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class Instrument(Section):
    """One instrument."""

    model: Model = Field(description="Its driver's name.")
    resource: str = Field(
        description="Where it is: a VISA resource, http(s)://HOST:PORT or a folder, by its model."
    )
    poll_s: float = Field(1.0, ge=0.05, le=3600, description="Readings are taken this often [s].")
    slow_poll_s: float = Field(
        60.0, ge=1, le=86400, description="Settings are read back this often [s]."
    )
    channels: list[int] | None = Field(
        None, description="Its channels in use; all where it is not given."
    )
    stages: dict[Stage, int | str] | None = Field(
        None, description="Which thermometer of a refrigerator is which stage: mxc = 6."
    )
    bridge: str | None = Field(None, description="Model of a refrigerator's resistance bridge.")
    key_file: str | None = Field(None, description="A file with the key to it, and nothing else.")
    self_signed: bool | None = Field(
        None, description="Accept the certificate that it has made for itself."
    )
    zone: str | None = Field(None, description="Time zone of its logs; ours where not given.")
    safe: dict[str, list[bool | int | float | str]] = Field(
        {}, description="Values that `pytest --bench` may write to a parameter; none where absent."
    )

    @property
    def extras(self) -> dict[str, Any]:
        """The settings that only some models take, where given; Any: of different types."""
        given = {name: getattr(self, name) for name in _EXTRAS}
        return {name: value for name, value in given.items() if value is not None}

    def made(self) -> driver.Instrument:
        """The instrument, not connected."""
        return catalogue.instrument(self.model)(
            self.resource, channels=self.channels, **self.extras
        )

    @field_validator("resource")
    @classmethod
    def _fits_the_model(cls, resource: str, info: ValidationInfo) -> str:
        model = info.data.get("model")  # absent where it was refused itself
        try:
            return catalogue.instrument(model).check_resource(resource) if model else resource
        except UsageError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _takes_its_extras(self) -> Instrument:
        unknown = sorted(set(self.extras) - catalogue.instrument(self.model).extras)
        if unknown:
            raise ValueError(f"expected no {unknown[0]}, which {self.model} does not take")
        return self


class Limit(Section):
    """What may be written to a parameter here, in its own unit."""

    least: float = Field(description="Nothing below this is written.")
    most: float = Field(description="Nothing above this is written.")

    @model_validator(mode="after")
    def _in_order(self) -> Limit:
        if self.least > self.most:
            raise ValueError(f"expected least below most {self.most:g}, found {self.least:g}")
        return self


class Safety(Section):
    """Limits that hold whoever asks, and what happens when nobody is in command any more."""

    limits: dict[str, Limit] = Field(
        {}, description='By parameter: "fridge.setpoint" = { least = 0.0, most = 0.05 }.'
    )
    without_run_control_s: float | None = Field(
        None, ge=5, le=1e6, description="Take the safe state when run control is away so long [s]."
    )
    without_operator_s: float | None = Field(
        None, ge=1, le=1e6, description="Take it when a lease ran out so long ago [s]."
    )
    orders: list[Order] = Field([], description="The safe state, in the order of writing.")

    @model_validator(mode="after")
    def _not_in_vain(self) -> Safety:
        waits = (self.without_run_control_s, self.without_operator_s)
        if any(wait is not None for wait in waits) and not self.orders:
            raise ValueError("expected orders for the safe state, found none")
        return self


class _NoDigitizer(DigitizerSettings):
    """A section whose model nobody knows: refused, together with whatever else is wrong in it."""

    model: Model = Field(description="Its driver's name.")


def _by_model(given: object) -> object:
    """A digitizer's section as the settings of its model's driver."""
    if not isinstance(given, Mapping):
        return given
    model = given.get("model")
    if not isinstance(model, str) or model not in catalogue.models():
        return _NoDigitizer.model_validate(given)
    try:
        driver = catalogue.digitizer(model)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return driver.settings.model_validate(given)


Digitizer = Annotated[SerializeAsAny[DigitizerSettings], BeforeValidator(_by_model)]


class Instruments(RootModel[dict[Name, Instrument]]):
    """Instruments by name."""

    model_config = ConfigDict(frozen=True, strict=True)

    def quantities(self) -> dict[str, str]:
        """Name -> unit of every reading, such as "fridge.input 6.temperature"; none is asked."""
        return {
            f"{name}.{reading}": unit
            for name, chosen in self.root.items()
            for bound in chosen.made().parameters()
            for reading, unit in units(bound.parameter.datatype.describe(), bound.name).items()
        }

    def cannot_write(self, instrument: str, parameter: str, value: object) -> str:
        """Why an order could not be obeyed; empty where it could."""
        made = {name: chosen.made() for name, chosen in self.root.items() if name == instrument}
        return cannot_write(made, instrument, parameter, value)


class Digitizers(sections.Digitizers):
    """Digitizers by name."""

    root: dict[Name, Digitizer]
