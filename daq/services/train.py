"""`scheelite train`: template and noise of each channel from the records of runs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from daq.acquire.filters import Filter
from daq.acquire.training import LEAST_NOISE, LEAST_PULSES, Cut, Records, train
from daq.errors import CheckError, UsageError
from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.model.record import PULSES, Cause, mask_of
from daq.services.filterfile import write_filters
from daq.store.reader import Run, open_run

MOST = 1000  # records of a kind that are used, evenly over the runs
LOW_PASS_COST = 0.01  # of the resolution, for a template that is not all signal
DAY_S = 86_400.0
NOISE = mask_of((Cause.RANDOM, Cause.PERIODIC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Heights:
    """Pulses from `least` to `most` counts make the template: a TES is linear only so far."""

    least: float = 0.0
    most: float = float("inf")


ALL_HEIGHTS = Heights()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The filter of a channel, how its records were cut; or why there is none."""

    channel: str
    filter: Filter | None
    noise: Cut | None = None
    pulses: Cut | None = None
    problem: str = ""


def train_runs(paths: Sequence[Path], only: str | None, heights: Heights) -> list[Trained]:
    """Every channel with enough records, or the one that is named; CheckError where none has."""
    runs = [open_run(path) for path in paths]
    first = runs[0]
    names = [c.name for c in first.channels if c.recorded]
    if only is not None and only not in names:
        raise UsageError(f"expected one of the channels {', '.join(names)}, found {only!r}")
    found = [_train(runs, name, heights) for name in ([only] if only else names)]
    if not any(one.filter for one in found):
        told = "; ".join(f"{one.channel}: {one.problem}" for one in found)
        raise CheckError(f"no channel could be trained: {told}")
    return found


def train_file(
    runs: Sequence[Path], out: Path, *, channel: str | None = None, heights: Heights = ALL_HEIGHTS
) -> list[Trained]:
    """Train by runs, and write the filters that came out into a file."""
    trained = train_runs(runs, channel, heights)
    write_filters(out, {one.channel: one.filter for one in trained if one.filter is not None})
    return trained


def _train(runs: Sequence[Run], name: str, heights: Heights) -> Trained:
    channel = _same_channel(runs, name)
    falling = channel.direction == "falling"
    noise, pulses = _select(runs, name, heights)
    try:
        one, noise_cut, pulse_cut = train(
            noise,
            pulses,
            pretrigger=channel.pretrigger,
            rate_hz=channel.record_rate_hz,
            falling=falling,
            low_pass_cost=LOW_PASS_COST,
            provenance=_provenance(runs, heights),
        )
    except CheckError as error:
        return Trained(channel=name, filter=None, problem=str(error))
    return Trained(channel=name, filter=one, noise=noise_cut, pulses=pulse_cut)


def _same_channel(runs: Sequence[Run], name: str) -> Channel:
    """The channel as all the runs have it."""
    found = []
    for run in runs:
        channel = next((c for c in run.channels if c.name == name), None)
        if channel is None:
            raise UsageError(f"run {run.number}: expected the channel {name}, found none")
        found.append(channel)
    first = found[0]
    for run, channel in zip(runs, found, strict=True):
        for what in ("record_length", "pretrigger", "record_rate_hz"):
            a, b = getattr(first, what), getattr(channel, what)
            if a != b:
                raise UsageError(
                    f"run {run.number}: expected {what} {a} of {name} as in run "
                    f"{runs[0].number}, found {b}"
                )
    return first


def _select(runs: Sequence[Run], name: str, heights: Heights) -> tuple[Records, Records]:
    """Records by chance alone, and by a pulse alone; no more than `MOST` of each."""
    noise, pulses = [], []
    for table, samples in _batches(runs, name):
        clean = table["flags"] == 0
        by_pulse = (table["causes"] & PULSES) > 0
        by_chance = ((table["causes"] & NOISE) > 0) & ~by_pulse
        high = (table["height"] >= heights.least) & (table["height"] <= heights.most)
        noise.append(np.asarray(samples[by_chance & clean]))
        pulses.append(np.asarray(samples[by_pulse & clean & high]))
    return _thinned(noise), _thinned(pulses)


def _batches(runs: Sequence[Run], name: str) -> Iterator[tuple[Rows, Records]]:
    for run in runs:
        yield from run.batches(name)


def _thinned(parts: list[npt.NDArray[np.int16]]) -> Records:
    together = np.concatenate(parts)
    if len(together) <= MOST:
        return together
    return np.asarray(together[np.linspace(0, len(together) - 1, MOST).astype(np.int64)])


def _provenance(runs: Sequence[Run], heights: Heights) -> dict[str, str]:
    started = [datetime.fromtimestamp(run.start_ns / 1e9, UTC) for run in runs]
    return {
        "runs": ", ".join(f"{run.number} of {run.name}" for run in runs),
        "runs started": ", ".join(f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in started),
        "recorded by": ", ".join(sorted({run.software for run in runs})),
        "trained by": f"scheelite {importlib.metadata.version('scheelite')}",
        "pulse heights": f"{heights.least:g} to {heights.most:g} counts",
        "at least": f"{LEAST_NOISE} noise and {LEAST_PULSES} pulse records",
        "at most": f"{MOST} of each, evenly over the runs",
        "low-pass": f"where it costs {LOW_PASS_COST:.0%} of the resolution",
    }


# --- what is told ---


# Any: JSON
def filter_row(name: str, one: Filter, sigmas: float) -> dict[str, Any]:
    """What a filter promises at a threshold in sigmas."""
    threshold = one.counts(sigmas=sigmas)
    return {
        "channel": name,
        "sigma_counts": one.noise_sigma,
        "sigma_formula_counts": one.sigma,
        "sigma_measured_counts": one.measured.sigma if one.measured else None,
        "measured_on": one.measured.n if one.measured else 0,
        "sigma_ev": one.sigma_ev,
        "threshold_sigmas": sigmas,
        "threshold_counts": threshold,
        "noise_per_day": one.noise_rate_hz(threshold) * DAY_S,
        "f_rms_hz": one.f_rms_hz,
        "length": one.length,
        "pretrigger": one.pretrigger,
        "rate_hz": one.rate_hz,
        "sha256": one.content_hash,
        "provenance": one.provenance,
    }


# Any: rows of `filter_row`
def filter_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The same for eyes."""
    table = Table(box=None)
    for column in (
        "channel", "sigma counts", "formula", "measured", "sigma eV", "threshold", "counts",
        "noise /day", "SHA-256",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "channel" else "right")
    for row in rows:
        ev = "" if row["sigma_ev"] is None else f"{row['sigma_ev']:.2f}"
        measured = row["sigma_measured_counts"]
        table.add_row(
            row["channel"], f"{row['sigma_counts']:.3f}", f"{row['sigma_formula_counts']:.3f}",
            "" if measured is None else f"{measured:.3f}", ev, f"{row['threshold_sigmas']:g} sigma",
            f"{row['threshold_counts']:.2f}", f"{row['noise_per_day']:.3g}", row["sha256"][:12],
        )  # fmt: skip
    return table
