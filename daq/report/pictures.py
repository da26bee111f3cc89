"""The pictures of a report, each a function from numbers to a captioned SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daq.model.record import DEAD_CAUSES
from daq.readout.efficiency import Share
from daq.report import curves, series, text
from daq.report.canvas import SERIES, ink, series_ink, svg
from daq.report.curves import Curve, Histogram, Noise, Values
from daq.report.series import Series
from daq.report.show import ChannelSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_IN = 0.19
# how far down a noise picture reaches below its highest point
NOISE_DECADES = 4
SHARES = ("live", *DEAD_CAUSES)
SHARE_COLORS = {share: SERIES[i % len(SERIES)] for i, share in enumerate(SHARES)}
MEASURED = {"K": "temperature", "ohm": "resistance", "V": "voltage", "W": "power"}
# longest run, unit of its time axis, seconds in it
TIME_UNITS = ((180.0, "s", 1.0), (10_800.0, "min", 60.0), (float("inf"), "h", 3600.0))


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing under its title; an empty `drawing` leaves the note, which then says why."""

    title: str
    note: str
    drawing: str


@dataclass(frozen=True, slots=True)
class LogRange:
    """A logarithmic axis that several pictures share: whole decades, a factor and its unit."""

    low: float
    high: float
    factor: float
    unit: str


def log_range(values: Sequence[Values], unit: str, most_decades: int = 9) -> LogRange:
    """The axis on which all values have room, from `most_decades` below the highest on."""
    together = np.concatenate([*values, np.empty(0)])
    factor, symbol = text.scale(float(np.median(together)) if len(together) else 0.0, unit)
    low, high = curves.decades(together * factor)
    return LogRange(max(low, high / 10.0**most_decades), high, factor, symbol)


def traces(name: str, found: Sequence[Curve]) -> Picture:
    """The newest records of a channel over each other."""
    if not found:
        return Picture(name, "no records in this channel", "")
    highest = max(float(np.abs(trace.y).max()) for trace in found)
    factor, unit = text.scale(highest, "V")

    def draw(axes: Axes) -> None:
        for i, trace in enumerate(found):
            axes.plot(trace.x * 1e3, trace.y * factor, color=series_ink(i))
        axes.margins(x=0)
        axes.set(xlabel="time since trigger (ms)", ylabel=f"signal ({unit})")

    return Picture(name, _counted(len(found), "record"), svg(draw, f"traces of {name}"))


def spectrum(name: str, volts: Values, across: LogRange) -> Picture:
    """Pulse heights of a channel, counts per logarithmic bin."""
    if not len(volts):
        return Picture(name, "no records in this channel", "")
    histogram = curves.heights(volts * across.factor, across.low, across.high)
    outside = len(volts) - int(histogram.values.sum())
    note = _counted(len(volts), "record") + (f", {outside} off the axis" if outside else "")

    def draw(axes: Axes) -> None:
        axes.stairs(histogram.values, histogram.edges, baseline=0.5, fill=True, color=ink("s0"))
        _logarithmic(axes, "x", across.low, across.high)
        _logarithmic(axes, "y", 0.5, max(10.0, 1.5 * float(histogram.values.max())))
        axes.set(xlabel=f"pulse height ({across.unit})", ylabel="records per bin")

    return Picture(name, note, svg(draw, f"pulse heights of {name}"))


def noise(name: str, found: Noise | None, up: LogRange) -> Picture:
    """Noise density of a channel against frequency."""
    if found is None:
        return Picture(name, "no record free of pile-up and saturation", "")
    x, y = found.density.x, found.density.y * up.factor
    if not y.any():
        return Picture(name, "no noise at all: the pretriggers are constant", "")

    def draw(axes: Axes) -> None:
        _logarithmic(axes, "x", float(x[0]), float(x[0] + x[-1]))  # up to Nyquist
        _logarithmic(axes, "y", up.low, up.high)
        axes.plot(x, y, color=ink("s0"))
        axes.set(xlabel="frequency (Hz)", ylabel=f"noise ({up.unit})")

    return Picture(name, _counted(found.n_records, "pretrigger"), svg(draw, f"noise of {name}"))


def rate(name: str, found: Histogram, highest: float) -> Picture:
    """Records per second of a channel against time."""
    if not found.values.any():
        return Picture(name, "no records between start and stop", "")
    unit, seconds = time_unit(float(found.edges[-1]))
    note = f"bins of {found.edges[1]:.3g} s"

    def draw(axes: Axes) -> None:
        axes.stairs(found.values, found.edges / seconds, baseline=None, color=ink("s0"))
        axes.set(xlim=(0, found.edges[-1] / seconds), ylim=(0, highest * 1.05))
        axes.set(xlabel=f"time since start ({unit})", ylabel="rate (1/s)")

    return Picture(name, note, svg(draw, f"record rate of {name}"))


def reading(found: Series, start_ns: int) -> Picture:
    """One parameter of an instrument against time."""
    factor, unit = text.scale(float(np.abs(found.finite).max()), found.unit)
    measured = MEASURED.get(found.unit, "value")
    line = series.line(found, start_ns)
    time, seconds = time_unit(float(line.x[-1]))
    note = _counted(found.errors, "reading") + " failed" if found.errors else ""

    def draw(axes: Axes) -> None:
        axes.plot(line.x / seconds, line.y * factor, color=ink("s0"))
        axes.margins(x=0)
        axes.locator_params(axis="y", nbins=5)
        axes.set(xlabel=f"time since start ({time})", ylabel=_named(measured, unit))

    title = f"{found.instrument} {found.parameter}"
    return Picture(title, note, svg(draw, f"{title} against time"))


def against_hours(title: str, note: str, line: Curve, ylabel: str) -> Picture:
    """Something that was followed over the run, stretch by stretch."""
    if len(line.x) < 2:
        return Picture(title, "too few records", "")
    unit, seconds = time_unit(float(line.x[-1]) * 3600)

    def draw(axes: Axes) -> None:
        axes.plot(line.x * 3600 / seconds, line.y, color=ink("s0"), marker=".", markersize=3)
        axes.margins(x=0)
        axes.locator_params(axis="y", nbins=5)
        axes.set(xlabel=f"time since start ({unit})", ylabel=ylabel)

    return Picture(title, note, svg(draw, f"{ylabel} of {title} against time"))


def efficiency(name: str, found: Sequence[Share]) -> Picture:
    """Shares of salts that were found, with their intervals."""
    energies = np.array([one.energy_ev for one in found])
    middle = np.array([one.found / one.placed for one in found])
    low, high = (np.array([getattr(one, end) for one in found]) for end in ("low", "high"))

    def draw(axes: Axes) -> None:
        up, down = np.maximum(high - middle, 0), np.maximum(middle - low, 0)
        axes.errorbar(energies, middle, [down, up], color=ink("s0"), marker=".", linestyle="none")
        _logarithmic(axes, "x", *curves.decades(energies))
        axes.set(xlabel="energy (eV)", ylabel="share found", ylim=(0, 1.05))

    placed = sum(one.placed for one in found)
    return Picture(name, _counted(placed, "salt"), svg(draw, f"efficiency of {name}"))


def shares(channels: Sequence[ChannelSummary]) -> list[Picture]:
    """Live and dead time of all channels: the whole, and its dead part enlarged."""
    return [
        _bars("share of real time", channels, SHARES),
        _bars("dead time, enlarged", channels, DEAD_CAUSES),
    ]


def time_unit(duration_s: float) -> tuple[str, float]:
    """The unit of a time axis of this length, and the seconds in it."""
    return next((unit, seconds) for most, unit, seconds in TIME_UNITS if duration_s <= most)


def _bars(title: str, channels: Sequence[ChannelSummary], shares: Sequence[str]) -> Picture:
    counted = [channel for channel in channels if channel.real_s > 0]
    if not any(_percent(c, share) for c in counted for share in shares):
        return Picture(title, "none" if counted else "no live time was counted", "")
    names = [channel.name for channel in counted]

    def draw(axes: Axes) -> None:
        left = np.zeros(len(counted))
        for share in shares:
            width = np.array([_percent(channel, share) for channel in counted])
            axes.barh(names, width, 0.75, left, color=ink(SHARE_COLORS[share]))
            left += width
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel="share of real time (%)", xlim=(0, left.max()))

    return Picture(title, "", svg(draw, title, height_in=0.6 + ROW_IN * len(counted)))


def _percent(channel: ChannelSummary, share: str) -> float:
    seconds = channel.live_s if share == "live" else channel.dead_s[share]
    return 100 * seconds / channel.real_s


def _logarithmic(axes: Axes, which: str, low: float, high: float) -> None:
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: text.power(value))
    axis.set_minor_formatter(lambda _, __: "")


def _named(what: str, unit: str) -> str:
    return f"{what} ({unit})" if unit else what


def _counted(n: int, what: str) -> str:
    return f"{text.count(n)} {what}" + ("" if n == 1 else "s")
