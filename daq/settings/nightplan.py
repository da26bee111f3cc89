"""The plan of a night: a readable TOML file, all of whose mistakes are told at once.

name = "55Fe until seven"
until = "07:00"

[[first]]       # once
[[repeat]]      # again and again, until then; what has begun by then is cut short
[[last]]        # whatever happened: warm or hold
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from daq.errors import SettingsError, UsageError
from daq.settings.detectors import Detectors
from daq.settings.loader import Settings, checked, read_toml
from daq.settings.sections import Channels, Name, Section
from daq.settings.watch import (
    Condition,
    Order,
    condition_problems,
    order_problems,
    quantities_of,
)

CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
DAY_S = 86_400.0
PARTS = ("first", "repeat", "last")


class Wait(Condition):
    """Wait until a quantity has been within its limits for a time."""

    kind: Literal["wait"]
    stable_s: float = Field(0.0, ge=0, le=DAY_S, description="Within its limits for so long [s].")
    timeout_s: float = Field(ge=1, le=7 * DAY_S, description="Longest wait [s].")
    otherwise: Literal["end", "go-on"] = Field(
        "end", description="After the timeout: the night ends (with its [[last]]), or goes on."
    )

    @model_validator(mode="after")
    def _limits(self) -> Wait:
        if self.above is None and self.below is None:
            raise ValueError("expected above or below, found neither")
        return self


class WriteStep(Order):
    """Write a value to an instrument; done when it holds it."""

    kind: Literal["write"]


class StopIf(Condition):
    """A run ends where a quantity is beyond its limit."""

    for_s: float = Field(0.0, ge=0, le=DAY_S, description="... for so long [s].")

    @model_validator(mode="after")
    def _limits(self) -> StopIf:
        if self.above is None and self.below is None:
            raise ValueError("expected above or below, found neither")
        return self


class RunStep(Section):
    """A run; whichever of its rules is met first ends it."""

    kind: Literal["run"]
    label: Literal["A", "B", "C", "ignore"] = Field("A", description="What it is good for.")
    comment: str = Field("", max_length=500, description="Goes into the file.")
    duration_s: float | None = Field(None, ge=0.1, le=30 * DAY_S, description="Of samples [s].")
    livetime_s: float | None = Field(None, gt=0, description="Of the least live target [s].")
    records: int | None = Field(None, ge=1, description="Of all channels together.")
    exposure_g_d: float | None = Field(None, gt=0, description="Of all targets [g d].")
    n_bytes: int | None = Field(None, ge=1, description="Before compression.")
    stop_if: list[StopIf] = Field([], description="Ends where a quantity is beyond its limit.")

    @model_validator(mode="after")
    def _ends(self) -> RunStep:
        rules = (self.duration_s, self.livetime_s, self.records, self.exposure_g_d, self.n_bytes)
        if not any(rule is not None for rule in rules):
            raise ValueError(
                "expected one of duration_s, livetime_s, records, exposure_g_d, n_bytes, found none"
            )
        return self


class NoiseStep(Section):
    """A run of random records alone, to measure the noise with."""

    kind: Literal["noise"]
    label: Literal["A", "B", "C", "ignore"] = Field("B", description="What it is good for.")
    comment: str = Field("", max_length=500, description="Goes into the file.")
    duration_s: float = Field(ge=0.1, le=DAY_S, description="Of samples [s].")
    rate_hz: float = Field(gt=0, le=1000, description="Mean rate of records in each channel.")
    channels: list[Name] = Field([], description="Empty: all targets.")


class HeaterStep(Section):
    """A run with the pulses of a heater's generator, at one height after the other."""

    kind: Literal["heater"]
    label: Literal["A", "B", "C", "ignore"] = Field("B", description="What it is good for.")
    comment: str = Field("", max_length=500, description="Goes into the file.")
    instrument: Name = Field(description="The generator.")
    height: str = Field(min_length=1, description="Its parameter for the height.")
    field: str = Field("", description="... and the field of it, where it has several.")
    heights: Annotated[list[float], Field(min_length=1)] = Field(description="One by one.")
    each_s: float = Field(ge=0.1, le=DAY_S, description="Of samples at each height [s].")
    before: list[Order] = Field([], description="What is written before, such as the output on.")
    after: list[Order] = Field([], description="What is written after, such as the output off.")

    def order(self, height: float) -> Order:
        """What sets a height."""
        value: object = {self.field: height} if self.field else height
        return Order.model_validate(
            {"instrument": self.instrument, "parameter": self.height, "value": value}
        )


class TuneStep(Section):
    """Tune channels as `scheelite tune` does, IV curves and all."""

    kind: Literal["tune"]
    channels: list[Name] = Field([], description="Empty: all of [detectors].")
    timeout_s: float = Field(6 * 3600.0, ge=10, le=7 * DAY_S, description="Longest [s], by ours.")
    otherwise: Literal["end", "go-on"] = Field(
        "end", description="Where one does not pass: the night ends, or goes on."
    )


class IvStep(Section):
    """Measure IV curves of tuned channels, all at once; every channel is left as it was."""

    kind: Literal["iv"]
    channels: list[Name] = Field([], description="Empty: all of [detectors].")
    timeout_s: float = Field(3600.0, ge=10, le=DAY_S, description="Longest [s], by ours.")
    otherwise: Literal["end", "go-on"] = Field(
        "go-on", description="Where a curve cannot be had: the night ends, or goes on."
    )


Step = Annotated[
    TuneStep | IvStep | Wait | WriteStep | RunStep | NoiseStep | HeaterStep,
    Field(discriminator="kind"),
]


class NightPlan(Section):
    """A night, part by part."""

    name: str = Field(min_length=1, max_length=100, description="What it is called.")
    until: str = Field("", description="HH:MM by the machine's time zone; for [[repeat]].")
    first: list[Step] = Field([], description="Once.")
    repeat: list[Step] = Field([], description="Again and again.")
    last: list[Step] = Field([], description="At the end, whatever happened.")

    @model_validator(mode="after")
    def _somehow(self) -> NightPlan:
        if self.until and not CLOCK.fullmatch(self.until):
            raise ValueError(f"expected until to be HH:MM, found {self.until!r}")
        if bool(self.repeat) != bool(self.until):
            raise ValueError("expected until where something is repeated, and only there")
        if self.repeat and all(isinstance(step, WriteStep) for step in self.repeat):
            raise ValueError("expected a run or a wait among what repeats, found none")
        if not (self.first or self.repeat or self.last):
            raise ValueError("expected at least one step, found none")
        return self

    def steps(self) -> Iterator[tuple[str, BaseModel]]:
        """Every step with its place, such as "repeat.0"."""
        for part in PARTS:
            for i, step in enumerate(getattr(self, part)):
                yield f"{part}.{i}", step


def seconds_until(clock: str, now: datetime) -> float:
    """From now to the next HH:MM [s], by the time zone of `now`."""
    found = CLOCK.fullmatch(clock)
    if found is None:
        raise UsageError(f"expected HH:MM, found {clock!r}")
    then = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return (then - now).total_seconds()


def load_plan(path: Path, settings: Settings) -> NightPlan:
    """The plan in a file for the services of a config; SettingsError lists every mistake."""
    return parse_plan(read_toml(path), path, settings)


def parse_plan(text: str, path: Path, settings: Settings) -> NightPlan:
    """The plan in a text; `path` is what the errors name."""
    plan, problems = checked(NightPlan, text, path)
    if plan is not None:
        problems += plan_problems(plan, settings)
    if problems or plan is None:
        raise SettingsError(str(path), problems)
    return plan


def plan_problems(plan: NightPlan, settings: Settings) -> list[str]:
    """What a plan asks of services that do not have it."""
    names = quantities_of(settings.sections)
    steps = list(plan.steps())
    return [problem for place, step in steps for problem in _of(place, step, settings, names)]


def _of(place: str, step: BaseModel, settings: Settings, names: Mapping[str, str]) -> Iterator[str]:
    match step:
        case Wait():
            yield from condition_problems(f"{place}.", step, names)
        case TuneStep() | IvStep():
            yield from _tunable(place, step, settings)
        case WriteStep():
            yield from order_problems(place, [step], settings.sections)
        case RunStep():
            for i, rule in enumerate(step.stop_if):
                yield from condition_problems(f"{place}.stop_if.{i}.", rule, names)
        case NoiseStep():
            known = settings.section(Channels).root
            for name in [each for each in step.channels if each not in known]:
                yield f"{place}.channels: expected one of {', '.join(known)}, found {name!r}"
        case HeaterStep():
            orders = [*step.before, *map(step.order, step.heights), *step.after]
            yield from order_problems(place, orders, settings.sections)


def _tunable(place: str, step: TuneStep | IvStep, settings: Settings) -> Iterator[str]:
    detectors = settings.sections.get("detectors")
    known = detectors.root if isinstance(detectors, Detectors) else {}
    if not known:
        yield f"{place}: expected [detectors] in the config to {step.kind}, found none"
    for name in [each for each in step.channels if known and each not in known]:
        yield f"{place}.channels: expected one of {', '.join(known)}, found {name!r}"
