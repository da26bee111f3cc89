"""The report of a tuning as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from daq.readout.requests import Picture, Value
from daq.report.canvas import series_ink, svg
from daq.report.page import template, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step as it went."""

    name: str
    passed: bool
    expected: str
    found: str
    values: Mapping[str, float]
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class ChannelPage:
    """One channel as it went, and what it holds now."""

    name: str
    passed: bool
    problem: str
    steps: Sequence[StepRow]
    held: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is other than at the last good tune."""

    channel: str
    name: str
    before: str
    now: str
    change: str


@dataclass(frozen=True, slots=True)
class TuningPage:
    """All that the report says."""

    made: str
    config: str
    seconds: float
    channels: Sequence[ChannelPage]
    differences: Sequence[Difference]


def write_tuning(page: TuningPage, path: Path) -> Path:
    """Write the report, whole or not at all."""
    content = {
        "made": page.made,
        "config": page.config,
        "seconds": f"{page.seconds:.0f}",
        "differences": page.differences,
        "channels": [_channel(each) for each in page.channels],
    }
    return write_page(path, template("tuning.html.j2").render(content))


def _channel(channel: ChannelPage) -> dict[str, object]:
    pictures = [(step, picture) for step in channel.steps for picture in step.pictures]
    return {
        "name": channel.name,
        "passed": channel.passed,
        "problem": channel.problem,
        "held": {name: shown(value) for name, value in channel.held.items()},
        "steps": [
            {
                "name": step.name,
                "passed": step.passed,
                "expected": step.expected,
                "found": step.found,
                "numbers": {name: shown(value) for name, value in step.values.items()},
            }
            for step in channel.steps
        ],
        "pictures": [
            {"title": picture.title, "svg": Markup(_drawn(picture, channel.name, step.name))}
            for step, picture in pictures
        ],
    }


def shown(value: Value) -> str:
    """A value for eyes."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _drawn(picture: Picture, channel: str, step: str) -> str:
    def draw(axes: Axes) -> None:
        for index, (name, (x, y)) in enumerate(picture.curves.items()):
            style = "." if name in picture.points else "-"
            axes.plot(x, y, style, color=series_ink(index), markersize=3, label=name)
        axes.set_xlabel(picture.x_label)
        axes.set_ylabel(picture.y_label)

    return svg(draw, f"{channel}, {step}: {picture.title}")
