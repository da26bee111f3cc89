"""The guard's compiled loops: one pass over all samples, and what looks closer where it must."""

from __future__ import annotations

import numpy as np

from daq.acquire.kernels import I16, I64, _compile

GRID = 512  # samples of a block; blocks lie on multiples of it, so that cuts make no difference
NARROW = 2000  # counts: GRID squares of differences below it fit into 31 bits
MEAN = 16  # samples whose mean is a level
STEPS, CONSTANT, RAIL = 1, 2, 4  # what a survey may have seen
WAIT, JUMP, NONE = 0, 1, 2  # verdicts on a step


@_compile
def survey(
    x: I16,
    first: int,
    head: int,
    span: int,
    level: float,
    low: int,
    high: int,
    piece: int,
    sums: I64,
    totals: I64,
    squares: I64,
) -> tuple[int, int]:
    """What there is in x[first:] that must be looked into, and the sums of pieces that end in it.

    Blocks are of GRID samples, but the first, of `head`. The bits say that in some block, with
    `span` samples before it, the largest difference reaches `level` (STEPS), that all samples of
    one are equal (CONSTANT), or that one reaches `low` or `high` (RAIL). `sums` is (samples, sum,
    sum of squares) of the piece that is being filled, `piece` samples long; returns the bits and
    how many pieces ended.
    """
    seen, ended, at, stop = 0, 0, first, first + head
    while at < x.size:
        stop = min(stop, x.size)
        block = x[at:stop]
        bottom, top = block[0], block[0]
        for k in range(block.size):
            bottom, top = min(bottom, block[k]), max(top, block[k])
        total, square = _sums(block, int(top) - int(bottom))
        if bottom == top:
            seen |= CONSTANT
        if bottom <= low or top >= high:
            seen |= RAIL
        for k in range(max(at - span, 0), at):
            bottom, top = min(bottom, x[k]), max(top, x[k])
        if np.int64(top) - np.int64(bottom) >= level:
            seen |= STEPS
        sums[0] += block.size
        sums[1] += total
        sums[2] += square
        if sums[0] >= piece:
            totals[ended], squares[ended] = sums[1], sums[2]
            sums[0], sums[1], sums[2] = 0, 0, 0
            ended += 1
        at, stop = stop, stop + GRID
    return seen, ended


@_compile
def _sums(block: I16, extent: int) -> tuple[int, int]:
    """Sum and sum of squares; in 32 bits, eight at once, where those of the differences fit."""
    if extent > NARROW:
        total, square = np.int64(0), np.int64(0)
        for k in range(block.size):
            value = np.int64(block[k])
            total += value
            square += value * value
        return int(total), int(square)
    origin = np.int32(block[0])
    few, many = np.int32(0), np.int32(0)
    for k in range(block.size):
        away = np.int32(np.int32(block[k]) - origin)
        few = np.int32(few + away)
        many = np.int32(many + np.int32(away * away))
    n, low = block.size, int(origin)
    return int(few) + n * low, int(many) + 2 * low * int(few) + n * low * low


@_compile
def next_step(x: I16, start: int, span: int, level: float) -> int:
    """The first i from `start` on where x[i] is `level` or more from x[i - span]; or x.size."""
    for i in range(max(start, span), x.size):
        if abs(np.int32(x[i]) - np.int32(x[i - span])) >= level:
            return i
    return int(x.size)


@_compile
def judge_step(
    x: I16,
    i: int,
    since: int,
    span: int,
    hold: int,
    phi0: float,
    tolerance: float,
    low: int,
    high: int,
    final: bool,
) -> tuple[int, int, float, int]:
    """Whether the step seen at i is a jump: verdict, whole quanta, measured quanta, its sample.

    Levels are means of MEAN samples, none before `since`, on either side of what may be the way
    from one to the other. Their distance is a whole number of `phi0` within `tolerance` of one,
    and for `hold` samples, or to the next step, x stays more than half a quantum nearer to where
    it went than a quantum less. From or to `low` or `high`, the ends of the output, there is no
    knowing how far it went. `final`: nothing will follow x.
    """
    level = (1.0 - tolerance) * phi0
    first = max(i - span - MEAN + 1, since, 0)
    before = _mean(x, first, i - span + 1)
    if x.size < i + span + MEAN and not final:
        return WAIT, 0, 0.0, i
    if x.size <= i + span:
        return NONE, 0, 0.0, i
    size = (_mean(x, i + span, min(i + span + MEAN, x.size)) - before) / phi0
    quanta = int(np.rint(size))
    if quanta == 0 or abs(size - quanta) > tolerance:
        return NONE, 0, size, i
    for k in range(first, min(i + span + MEAN, x.size)):
        if x[k] <= low or x[k] >= high:
            return NONE, 0, size, i
    sign = 1.0 if quanta > 0 else -1.0
    least = (abs(quanta) - 0.5) * phi0
    for k in range(i + span, i + hold):
        if k >= x.size:
            if not final:
                return WAIT, 0, 0.0, i
            break
        if k > i + 2 * span and abs(np.int32(x[k]) - np.int32(x[k - span])) >= level:
            break  # the next step: up to here it held
        if sign * (x[k] - before) < least:
            following = next_step(x[: k + span + 1], max(k, i + 2 * span + 1), span, level)
            if following <= k + span and following < x.size:
                break  # which has just begun
            if x.size <= k + span and not final:
                return WAIT, 0, 0.0, i
            return NONE, 0, size, i
    at = i
    for k in range(i - span + 1, i + span):
        if sign * (x[k] - before) >= 0.5 * abs(quanta) * phi0:
            at = k
            break
    return JUMP, quanta, size, at


@_compile
def _mean(x: I16, start: int, stop: int) -> float:
    total = np.int64(0)
    for k in range(start, stop):
        total += x[k]
    return total / (stop - start)


@_compile
def equal_runs(
    x: I16, first: int, since: int, least: int, starts: I64, stops: I64
) -> tuple[int, int]:
    """Stretches of `least` or more equal samples that end in x[first:] before its last sample.

    `since` is where the stretch that x[first] may go on with began, first for a new one. Returns
    how many there are, and where the last stretch, which may go on, began.
    """
    count = 0
    for k in range(first, x.size):
        if k > since and x[k] != x[k - 1]:
            if k - since >= least:
                starts[count], stops[count] = since, k
                count += 1
            since = k
    return count, since


@_compile
def beyond(x: I16, low: int, high: int, apart: int, starts: I64, stops: I64) -> int:
    """Stretches of samples at or beyond `low` or `high`, `apart` or more from each other."""
    count = 0
    for i in range(x.size):
        if x[i] >= high or x[i] <= low:
            if count > 0 and i < stops[count - 1] + apart:
                stops[count - 1] = i + 1
            else:
                starts[count], stops[count] = i, i + 1
                count += 1
    return count


@_compile
def shifted(x: I16, by: int, out: I16) -> None:
    """out = x - by, within int16."""
    for k in range(x.size):
        out[k] = min(max(np.int32(x[k]) - np.int32(by), np.int32(-32768)), np.int32(32767))
