"""The pictures of a run in their order: targets three by three, then the vetoes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.report import curves, pictures
from daq.report.curves import Curve, Histogram, Noise, Values
from daq.report.pictures import Picture
from daq.report.series import Series
from daq.report.show import vetoes
from daq.report.source import Loaded, Samples

MAX_READINGS = 24


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures that belong together, in groups that share their axes."""

    name: str
    title: str
    caption: str
    groups: list[list[Picture]]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """All that the pictures of one channel are drawn from."""

    name: str
    traces: list[Curve]
    volts: Values
    noise: Noise | None
    rate: Histogram


def galleries(loaded: Loaded, start_ns: int, stop_ns: int) -> list[Gallery]:
    """What is drawn for each channel, channel beside channel."""
    drawn = [_drawn(*records, start_ns, stop_ns) for records in loaded.records]
    is_veto = vetoes(loaded.run.channels)
    targets = [one for one, veto in zip(drawn, is_veto, strict=True) if not veto]
    others = [one for one, veto in zip(drawn, is_veto, strict=True) if veto]
    kinds = [kind for kind in (targets, others) if kind]
    return [
        Gallery(name, title, caption, [draw(kind) for kind in kinds])
        for name, title, caption, draw in GALLERIES
    ]


def readings(found: Sequence[Series], start_ns: int) -> list[Picture]:
    """Readings that vary, temperatures first, against time."""
    varying = sorted((s for s in found if s.varies), key=lambda series: series.unit != "K")
    return [pictures.reading(series, start_ns) for series in varying[:MAX_READINGS]]


def _drawn(channel: Channel, table: Rows, samples: Samples, start_ns: int, stop_ns: int) -> _Drawn:
    return _Drawn(
        name=channel.name,
        traces=curves.traces(channel, table, samples),
        volts=table["height"].astype(np.float64) * channel.volts_per_count,
        noise=curves.noise(channel, table, samples),
        rate=curves.rates(table["t_ns"], start_ns, stop_ns),
    )


def _traces(kind: Sequence[_Drawn]) -> list[Picture]:
    return [pictures.traces(d.name, d.traces) for d in kind]


def _spectra(kind: Sequence[_Drawn]) -> list[Picture]:
    across = pictures.log_range([d.volts for d in kind], "V")
    return [pictures.spectrum(d.name, d.volts, across) for d in kind]


def _noise(kind: Sequence[_Drawn]) -> list[Picture]:
    densities = [d.noise.density.y for d in kind if d.noise]
    up = pictures.log_range(densities, "V/√Hz", pictures.NOISE_DECADES)
    return [pictures.noise(d.name, d.noise, up) for d in kind]


def _rates(kind: Sequence[_Drawn]) -> list[Picture]:
    highest = max(float(d.rate.values.max()) for d in kind)
    return [pictures.rate(d.name, d.rate, highest) for d in kind]


GALLERIES: tuple[tuple[str, str, str, Callable[[Sequence[_Drawn]], list[Picture]]], ...] = (
    (
        "traces",
        "Traces",
        f"The newest {curves.MAX_TRACES} records of each channel over each other, less their "
        "baselines; long records are drawn as the lowest and highest sample of each of "
        f"{curves.CHUNKS} stretches.",
        _traces,
    ),
    (
        "spectra",
        "Pulse heights",
        "Largest excursion of all records from their baselines, "
        f"{curves.BINS_PER_DECADE} bins per decade; no filter, no calibration.",
        _spectra,
    ),
    (
        "noise",
        "Noise",
        "Root of the one-sided power density of the pretriggers of records that are neither piled "
        "up nor saturated: mean removed, Hann window, power averaged. Of more than "
        f"{curves.NOISE_STRETCHES * curves.NOISE_STRETCH} records, {curves.NOISE_STRETCHES} "
        f"stretches of {curves.NOISE_STRETCH} are looked at, evenly spread over the run.",
        _noise,
    ),
    ("rates", "Record rates", "Records per second of real time, whatever the live time.", _rates),
)
