"""Where the pulses of a recording rise, with the edge trigger that finds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ENOUGH = 512  # records that a mean pulse is made of
SEARCH = 16  # samples on either side of the recorded trigger
SURE_SIGMA, BEGINNING_SIGMA = 10.0, 4.0  # of the differences over the span: a pulse, its first one
BEGINNING = 0.1  # of the largest difference
USUAL_RISE = 12  # samples, where no pulse tells
LONGEST_SPAN = 32  # samples


class EdgeTrigger(TypedDict):
    """Fires where x[i] - x[i - edge_span] >= threshold, as the config of a channel writes it."""

    kind: str
    threshold: int
    rearm: int
    direction: str
    edge_span: int
    holdoff: int


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """`rises`: for each record the index where its triggered pulse begins, -1 where it has none."""

    rises: Ints
    trigger: EdgeTrigger


def mean_pulse(samples: npt.NDArray[np.integer], presamples: int) -> Floats:
    """The median record above its baseline, of at most ENOUGH records over the whole file."""
    some = samples[:: -(-len(samples) // ENOUGH)].astype(np.float64)
    baselines = np.median(some[:, : max(1, presamples // 2)], axis=1, keepdims=True)
    return np.asarray(np.median(some - baselines, axis=0))


def edges(samples: npt.NDArray[np.integer], presamples: int, noise: Floats) -> Edges:
    """The rises of all records, and the trigger that finds them above `noise` [stretch, sample].

    A pulse begins at the first sample of the unbroken run of large differences
    x[i] - x[i - edge_span] that holds the largest one near the recorded trigger. Large is a tenth
    of that largest one, at least 4 sigma of the noise's; the largest itself has 10 sigma or more.
    """
    pulse = mean_pulse(samples, presamples)
    sign = 1 if pulse.max() >= -pulse.min() else -1
    rise = _rise(sign * pulse, float(noise.std()))
    span = max(1, min(rise // 3, presamples, LONGEST_SPAN))
    sigma = float((noise[:, span:] - noise[:, :-span]).std())
    first = max(span, presamples - max(SEARCH, rise))
    window = samples[:, first - span : presamples + SEARCH + 2 * rise].astype(np.int64)
    steps = sign * (window[:, span:] - window[:, :-span])
    begins = _beginnings(steps, sigma)
    largest = steps.max(axis=1)[begins >= 0]
    return Edges(
        np.where(begins >= 0, begins + first, -1),
        _trigger(
            largest,
            sigma,
            direction="rising" if sign > 0 else "falling",
            span=span,
            holdoff=max(SEARCH, 2 * rise),
        ),
    )


def _rise(pulse: Floats, sigma: float) -> int:
    """Samples in which a mean pulse goes from a tenth to nine tenths of its height."""
    peak = int(pulse.argmax())
    height = pulse[peak]
    if height < SURE_SIGMA * sigma:
        return USUAL_RISE
    above = [peak - np.argmax(pulse[peak::-1] < share * height) for share in (0.1, 0.9)]
    return max(1, int(above[1] - above[0]))


def _beginnings(steps: Ints, sigma: float) -> Ints:
    """For each row the index at which the run around its largest step begins; -1: too small."""
    largest = steps.max(axis=1, keepdims=True)
    low = steps < np.maximum(BEGINNING * largest, BEGINNING_SIGMA * sigma)
    low[np.arange(steps.shape[1]) > steps.argmax(axis=1)[:, None]] = False
    last_low = steps.shape[1] - 1 - np.argmax(low[:, ::-1], axis=1)
    begins = np.where(low.any(axis=1), last_low + 1, 0)
    return np.where(largest[:, 0] >= SURE_SIGMA * sigma, begins, -1)


def _trigger(
    largest: Ints, sigma: float, *, direction: str, span: int, holdoff: int
) -> EdgeTrigger:
    """Above the noise, and at the foot of the smallest pulse, where it is nearest to the rise."""
    smallest = float(largest.min()) if len(largest) else 0.0
    threshold = math.ceil(max(SURE_SIGMA * sigma, BEGINNING * smallest))
    return EdgeTrigger(
        kind="edge",
        threshold=threshold,
        rearm=threshold // 2,
        direction=direction,
        edge_span=span,
        holdoff=holdoff,
    )
