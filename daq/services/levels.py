"""`scheelite levels`: thresholds from measured noise, and channels that are too noisy to use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomlkit

from daq.acquire.training import LEAST_NOISE, noise_psd, touches_rail
from daq.errors import CheckError, UsageError
from daq.model.channel import Channel, TriggerSettings
from daq.model.record import PULSES, Cause, mask_of
from daq.settings.loader import Settings
from daq.settings.sections import Channels
from daq.settings.writer import replace_text
from daq.store.reader import Run, open_run

HYPERACTIVE = 3.0  # times the median noise of the kind
REARM = 0.5  # of the way from the baseline to the threshold
NOISE = mask_of((Cause.RANDOM, Cause.PERIODIC))
Records = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The threshold: so many sigmas of the noise, or so many noise triggers a second (Rice)."""

    sigmas: float | None = None
    noise_hz: float | None = None

    def sigmas_for(self, crossings_hz: float) -> float:
        """Sigmas for noise that crosses its mean upward so often."""
        if (self.sigmas is None) == (self.noise_hz is None):
            raise UsageError(
                "expected a threshold in sigmas or by a noise rate, found both or none"
            )
        if self.sigmas is not None:
            return self.sigmas
        rate = self.noise_hz or 0.0
        if not 0 < rate < crossings_hz:
            raise UsageError(
                f"expected a noise rate above 0 and below {crossings_hz:.4g} Hz, found {rate:g} Hz"
            )
        return math.sqrt(2 * math.log(crossings_hz / rate))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one trigger of a channel would be set to [counts], and its predicted noise rate."""

    channel: str
    kind: str
    entry: int
    trigger: str
    base: float
    sigma: float
    threshold: float
    noise_hz: float
    hyperactive: bool = False
    filter_sigmas: float = 0.0  # of a matched trigger, the threshold in its filter's own sigmas


def levels(settings: Settings, path: Path, wanted: Wanted) -> list[Level]:
    """For all level and edge triggers of a config, by the random records of a run."""
    run = open_run(path)
    of_kind = {name: c.kind for name, c in settings.section(Channels).root.items()}
    found = [
        level
        for channel in run.channels
        if channel.name in of_kind and channel.recorded
        for level in levels_of(run, channel, of_kind[channel.name], wanted)
    ]
    if not found:
        raise CheckError(
            f"{path}: expected channels with {LEAST_NOISE} random records and a level or edge "
            f"trigger, found none"
        )
    return judged(found)


def write_levels(settings: Settings, found: Sequence[Level], disable: Sequence[str] = ()) -> None:
    """Write thresholds into a config; SettingsError where that would be none, and nothing is."""
    replace_text(settings.path, with_levels(settings.text, found, disable))


def levels_of(run: Run, channel: Channel, kind: str, wanted: Wanted) -> list[Level]:
    """Of a channel's level and edge triggers; none where there is too little noise."""
    records = noise_records(run, channel.name)
    if len(records) < LEAST_NOISE:
        return []
    _, cut = noise_psd(records, channel.record_rate_hz)
    clean = records[cut.kept].astype(np.float64)
    return [
        _level(channel, kind, i, trigger, clean, wanted)
        for i, trigger in enumerate(channel.triggers)
        if trigger.kind in ("level", "edge")
    ]


def noise_records(run: Run, name: str) -> Records:
    """Records by chance alone, without a flag and not saturated."""
    parts = []
    for table, samples in run.batches(name):
        chosen = (table["causes"] & NOISE > 0) & (table["causes"] & PULSES == 0)
        parts.append(np.asarray(samples[chosen & (table["flags"] == 0)]))
    if not parts:  # a run that has only begun
        return np.empty((0, 0), np.int16)
    records = np.concatenate(parts)
    return np.asarray(records[~touches_rail(records)])


def _level(
    channel: Channel, kind: str, entry: int, t: TriggerSettings, x: npt.NDArray[np.float64],
    wanted: Wanted,
) -> Level:  # fmt: skip
    sign = -1.0 if t.direction == "falling" else 1.0
    looked_at = x[:, t.edge_span :] - x[:, : -t.edge_span] if t.kind == "edge" else x
    base = sign * float(np.median(x)) if t.kind == "level" else 0.0
    sigma = float(np.std(looked_at - looked_at.mean(axis=1, keepdims=True)))
    steps = float(np.std(np.diff(looked_at, axis=1)))
    crossings_hz = channel.record_rate_hz * _crossings(steps / sigma)
    sigmas = wanted.sigmas_for(crossings_hz)
    return Level(
        channel=channel.name,
        kind=kind,
        entry=entry,
        trigger=t.kind,
        base=base,
        sigma=sigma,
        threshold=base + sigmas * sigma,
        noise_hz=crossings_hz * math.exp(-(sigmas**2) / 2),
    )


def _crossings(steps: float) -> float:
    """Upward crossings of the mean per sample, of Gaussian samples (Rice 1945, for samples).

    With r the correlation of neighbors, steps^2 = 2 (1 - r), and they lie on either side of the
    mean with a probability of arccos(r) / pi.
    """
    return math.acos(max(1 - steps**2 / 2, -1.0)) / (2 * math.pi)


def judged(found: Sequence[Level]) -> list[Level]:
    """Which are much noisier than the others of their kind."""
    sigmas: dict[tuple[str, int], list[float]] = {}
    for one in found:
        sigmas.setdefault((one.kind, one.entry), []).append(one.sigma)
    result = []
    for one in found:
        usual = float(np.median(sigmas[one.kind, one.entry]))
        values = {name: getattr(one, name) for name in Level.__slots__}
        result.append(Level(**(values | {"hyperactive": one.sigma > HYPERACTIVE * usual})))
    return result


def hyperactive(found: Sequence[Level]) -> list[str]:
    """Channels that had better be disabled."""
    return list(dict.fromkeys(one.channel for one in found if one.hyperactive))


def with_levels(text: str, found: Sequence[Level], disable: Sequence[str]) -> str:
    """A config's text with these thresholds, and without these channels; comments are kept.

    A kind's trigger is set for the noisiest of its channels that are not disabled.
    """
    document: Any = tomlkit.parse(text)  # Any: tomlkit's tables are typed as unions
    for (kind, entry), one in _highest(found, disable).items():
        trigger = document["kinds"][kind]["triggers"][entry]
        trigger["threshold"] = round(one.threshold, 2)
        trigger["rearm"] = round(one.base + REARM * (one.threshold - one.base), 2)
    for name in disable:
        document["channels"][name]["enabled"] = False
    return tomlkit.dumps(document)


def _highest(found: Sequence[Level], disable: Sequence[str]) -> Mapping[tuple[str, int], Level]:
    highest: dict[tuple[str, int], Level] = {}
    for one in found:
        key = one.kind, one.entry
        if one.channel in disable:
            continue
        if key not in highest or one.threshold > highest[key].threshold:
            highest[key] = one
    return highest
