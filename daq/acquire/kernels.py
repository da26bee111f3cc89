"""The compiled loops over samples; the same samples always give the same bits.

Each is a pure function of its arguments. Loops are written so that LLVM vectorizes them: a block's
maximum is taken first and looked into only where it can matter (block skip).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

I16 = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
C64 = npt.NDArray[np.complex64]
C128 = npt.NDArray[np.complex128]

SKIP = 8192  # samples whose maximum is taken at once
RAIL_HIGH, RAIL_LOW = 32767, -32768
LOOK = 3  # samples on either side of a summit in which there may be a higher one
FIR_SHIFT = 15  # filter coefficients are integers in units of 2^-15

F = TypeVar("F", bound=Callable[..., Any])  # Any: a kernel's own signature stands beside it


def _compile(kernel: F) -> F:
    """Compiled at the first call, kept on disk, without the interpreter's lock."""
    return cast(F, njit(cache=True, nogil=True, boundscheck=False)(kernel))


def _inline(kernel: F) -> F:
    """Compiled as a part of each kernel that calls it, with what that gives as constants."""
    return cast(F, njit(inline="always", boundscheck=False)(kernel))


def _compile_float(kernel: F) -> F:
    """The same for sums of floats, which LLVM may order as suits the machine, always alike."""
    allowed = {"reassoc", "contract", "nsz"}
    return cast(F, njit(cache=True, nogil=True, boundscheck=False, fastmath=allowed)(kernel))


@_compile
def decimate(x: I16, taps: I16, factor: int, out: I16) -> None:
    """out[j] = sum_k taps[k] x[j factor + k] / 2^15, rounded to nearest, clipped to int16.

    The sum of |taps| must stay below 2^16 so that int32 cannot overflow. The slice and the int32
    casts make this one pmaddwd per eight products.
    """
    n = taps.size
    for j in range(out.size):
        window = x[j * factor : j * factor + n]
        total = np.int32(0)
        for k in range(n):
            total = np.int32(total + np.int32(np.int32(window[k]) * np.int32(taps[k])))
        rounded = (np.int64(total) + (1 << (FIR_SHIFT - 1))) >> FIR_SHIFT
        out[j] = min(max(int(rounded), RAIL_LOW), RAIL_HIGH)


@_compile
def level_crossings(
    x: I16, threshold: int, rearm: int, armed: bool, found: I64, freed: I64
) -> tuple[int, int, bool]:
    """Where x rises to `threshold` while armed (found), and where it arms again (freed).

    It arms at the first sample below `rearm`. `found` and `freed` have room for half of x and one
    more. Returns how many there are of each and whether it is armed at the end.
    """
    n_found, n_freed, i, n = 0, 0, 0, x.size
    while i < n:
        if armed:
            i = _first_at_least(x, i, threshold)
            if i < n:
                found[n_found] = i
                n_found, armed = n_found + 1, False
        else:
            i = _first_below(x, i, rearm)
            if i < n:
                freed[n_freed] = i
                n_freed, armed = n_freed + 1, True
    return n_found, n_freed, armed


@_compile
def edge_crossings(
    x: I16, span: int, threshold: int, rearm: int, armed: bool, found: I64, freed: I64
) -> tuple[int, int, bool]:
    """The same for the differences x[i] - x[i - span]; indices are into x, from `span` on."""
    n_found, n_freed, i, n = 0, 0, span, x.size
    while i < n:
        if armed:
            i = _first_step_at_least(x, span, i, threshold)
            if i < n:
                found[n_found] = i
                n_found, armed = n_found + 1, False
        else:
            i = _first_step_below(x, span, i, rearm)
            if i < n:
                freed[n_freed] = i
                n_freed, armed = n_freed + 1, True
    return n_found, n_freed, armed


@_compile
def _first_at_least(x: I16, start: int, level: int) -> int:
    i, n = start, x.size
    while i < n:
        block = x[i : i + SKIP]
        top = block[0]
        for k in range(block.size):
            top = max(top, block[k])
        if top >= level:
            break
        i += block.size
    while i < n and x[i] < level:
        i += 1
    return i


@_compile
def _first_below(x: I16, start: int, level: int) -> int:
    i, n = start, x.size
    while i < n and x[i] >= level:
        i += 1
    return i


@_compile
def _first_step_at_least(x: I16, span: int, start: int, level: int) -> int:
    i, n = start, x.size
    while i < n:
        late = x[i : i + SKIP]
        if _range(x[i - span : i + late.size]) >= level:  # else no difference can be so large
            early = x[i - span : i - span + late.size]
            top = np.int32(-65536)
            for k in range(late.size):
                top = max(top, np.int32(np.int32(late[k]) - np.int32(early[k])))
            if top >= level:
                break
        i += late.size
    while i < n and np.int32(x[i]) - np.int32(x[i - span]) < level:
        i += 1
    return i


@_compile
def _first_step_below(x: I16, span: int, start: int, level: int) -> int:
    i, n = start, x.size
    while i < n and np.int32(x[i]) - np.int32(x[i - span]) >= level:
        i += 1
    return i


@_compile
def _range(x: I16) -> int:
    high, low = x[0], x[0]
    for k in range(x.size):
        high, low = max(high, x[k]), min(low, x[k])
    return int(np.int64(high) - np.int64(low))


@_compile
def touches_rail(x: I16) -> bool:
    """Whether any sample is at the end of the ADC's range."""
    high, low = x[0], x[0]
    for i in range(x.size):
        high, low = max(high, x[i]), min(low, x[i])
    return bool(high == RAIL_HIGH or low == RAIL_LOW)


@_compile
def rail_stretches(x: I16, after: int, starts: I64, stops: I64) -> int:
    """The union of [i, i + 1 + after) over samples i at the rail, as stretches; how many.

    Room for x.size // (after + 1) + 1 of them is always enough.
    """
    count = 0
    for i in range(x.size):
        if x[i] == RAIL_HIGH or x[i] == RAIL_LOW:
            if count > 0 and i <= stops[count - 1]:
                stops[count - 1] = i + 1 + after
            else:
                starts[count], stops[count] = i, i + 1 + after
                count += 1
    return count


@_compile
def min_max(x: I16, bin_samples: int, scale: float, out: F32) -> None:
    """out[channel, bin] = (minimum, maximum) of `bin_samples` of x[channel], times `scale`."""
    for c in range(out.shape[0]):
        row = x[c]
        for j in range(out.shape[1]):
            window = row[j * bin_samples : (j + 1) * bin_samples]
            low, high = window[0], window[0]
            for k in range(window.size):
                low, high = min(low, window[k]), max(high, window[k])
            out[c, j, 0], out[c, j, 1] = np.float32(low * scale), np.float32(high * scale)


@_compile
def describe(samples: I16, pretrigger: int, rising: bool, falling: bool, out: F32) -> None:
    """out[record] = (baseline, its standard deviation, height, sign) of int16 [record, sample].

    The height is the largest excursion in a direction that may be, the sign which one that is.
    """
    for r in range(samples.shape[0]):
        total, squares = np.int64(0), np.int64(0)
        for k in range(pretrigger):
            value = np.int64(samples[r, k])
            total += value
            squares += value * value
        mean = total / pretrigger
        variance = (squares - total * total / pretrigger) / pretrigger
        low, high = samples[r, pretrigger], samples[r, pretrigger]
        for k in range(pretrigger, samples.shape[1]):
            low, high = min(low, samples[r, k]), max(high, samples[r, k])
        out[r, 0] = mean
        out[r, 1] = np.sqrt(max(variance, 0.0))
        up, down = np.float32(high - mean), np.float32(mean - low)
        if rising and (up >= down or not falling):
            out[r, 2], out[r, 3] = up, 1.0
        else:
            out[r, 2], out[r, 3] = down, -1.0


@_inline
def _low_pass(x: I16, taps: I16, n: int, factor: int, out: F32) -> None:
    scale, taps = np.float32(1 / (1 << FIR_SHIFT)), taps[:n]
    for j in range(out.size):
        window = x[j * factor : j * factor + n]
        total = np.int32(0)
        for k in range(n):
            total = np.int32(total + np.int32(np.int32(window[k]) * np.int32(taps[k])))
        out[j] = np.float32(total) * scale


@_compile
def low_pass(x: I16, taps: I16, factor: int, out: F32) -> None:
    """out[j] = sum_k taps[k] x[j factor + k] / 2^15, exact until the division.

    The sum of |taps| must stay below 2^16, as in `decimate`. Loops of a known length are half as
    fast again, so the usual ones are compiled apart. One row at a time: of a strided
    [channel, sample] LLVM would not know that rows are contiguous.
    """
    if taps.size == 256:
        _low_pass(x, taps, 256, factor, out)
    elif taps.size == 128:
        _low_pass(x, taps, 128, factor, out)
    elif taps.size == 64:
        _low_pass(x, taps, 64, factor, out)
    else:
        _low_pass(x, taps, taps.size, factor, out)


@_compile
def to_floats(x: I16, out: F32) -> None:
    """out = x, of one channel."""
    for k in range(out.size):
        out[k] = np.float32(x[k])


@_compile
def multiply_spectra(x: C64, kernel: C64) -> None:
    """x *= kernel, both complex64 [channel, frequency]."""
    for c in range(x.shape[0]):
        a, b = x[c], kernel[c]
        for k in range(a.size):
            re = a[k].real * b[k].real - a[k].imag * b[k].imag
            im = a[k].real * b[k].imag + a[k].imag * b[k].real
            a[k] = complex(re, im)


@_compile
def tops(y: F32, level: float, at: I64, height: F32, shift: F32) -> int:
    """Local maxima of y[1:-1] whose parabola through three points reaches `level`; how many.

    `at` is the index into y, `shift` where the parabola's top is beside it, `height` how high that
    is. Room for half of y is always enough.
    """
    count, i, stop = 0, 1, y.size - 1
    least = np.float32(level * 8 / 9)  # a parabola's top is at most 9/8 of its middle point
    while i < stop:
        if i + SKIP <= stop:
            block = y[i : i + SKIP]
            top = block[0]
            for k in range(SKIP):
                top = max(top, block[k])
            if top < least:
                i += SKIP
                continue
        end = min(i + SKIP, stop)
        while i < end:
            a, b, c = y[i - 1], y[i], y[i + 1]
            if b >= least and b > a and b >= c:
                bend = a - b + (c - b)
                aside = np.float32(0.5) * (a - c) / bend
                up = b - np.float32(0.25) * (a - c) * aside
                if up >= level:
                    at[count], height[count], shift[count] = i, up, aside
                    count += 1
            i += 1
    return count


@_compile
def block_tops(
    y: F32,
    ends: F32,
    ended: bool,
    skip: int,
    n: int,
    levels: F64,
    counts: I64,
    at: I64,
    height: F32,
    shift: F32,
) -> None:
    """`tops` of y[channel, skip:n] for channels each of its own level; `counts` says how many.

    `at` is from y[:, 0] on. `ends` [channel, 2] are the values before it, where `ended`, so that a
    top at the border is found; they then become the last two.
    """
    border = np.empty(4, np.float32)
    for c in range(y.shape[0]):
        row, count = y[c, skip:n], 0
        if ended:
            few = min(row.size, 2)
            border[0], border[1], border[2] = ends[c, 0], ends[c, 1], row[0]
            border[3] = row[few - 1]
            count = tops(border[: 2 + few], levels[c], at[c], height[c], shift[c])
            for k in range(count):
                at[c, k] -= 2
        found = tops(row, levels[c], at[c, count:], height[c, count:], shift[c, count:])
        for k in range(count, count + found):
            at[c, k] += skip
        counts[c] = count + found
        if row.size >= 2:
            ends[c, 0], ends[c, 1] = row[-2], row[-1]
        elif row.size == 1:
            ends[c, 0], ends[c, 1] = ends[c, 1], row[0]


@_compile
def standing_out(
    at: I64,
    height: F32,
    span: tuple[int, int],
    level: float,
    before: F32,
    after: F32,
    which: I64,
    lift: F32,
) -> int:
    """Of peaks with at in [span[0], span[1]), those as high as the level and their lift: how many,
    which, and the lift.

    The lift is how much higher a peak must be because of the side lobes of higher peaks near it.
    `at` is ascending. `before` and `after` are the envelopes of the filter's response at
    distances [0, reach) before and after a pulse of unit height.
    """
    n, reach, count = at.size, after.size, 0
    least = np.float32(level)
    for i in range(n):
        if not span[0] <= at[i] < span[1]:
            continue
        most = np.float32(0)
        j = i - 1
        while j >= 0 and at[i] - at[j] < reach:
            if height[j] >= height[i]:
                most = max(most, after[at[i] - at[j]] * height[j])
            j -= 1
        j = i + 1
        while j < n and at[j] - at[i] < reach:
            if height[j] > height[i]:
                most = max(most, before[at[j] - at[i]] * height[j])
            j += 1
        if height[i] >= least + most:
            which[count], lift[count] = i, most
            count += 1
    return count


@_compile_float
def weighed(x: I16, weights: F32) -> float:
    """Sum of weights times (x - x[0]); the weights sum to nothing, so that x[0] is no matter."""
    origin = np.int32(x[0])
    total = np.float32(0)
    for k in range(weights.size):
        total += weights[k] * np.float32(np.int32(x[k]) - origin)
    return float(total)


@_compile_float
def climb(x: I16, weights: F32, guess: int, least: int, most: int) -> tuple[int, float, float]:
    """The nearest maximum over t in [least, most] of the sum of weights times x[t:].

    Uphill from `guess`, looking LOOK samples to both sides: noise makes small summits beside the
    top. Returns the sample, where beside it the top of the parabola through its neighbors is
    (within half a sample), and how high that is.
    """
    t = min(max(guess, least), most)
    known = np.full(most - least + 3, np.nan)  # of t from least - 1 to most + 1
    summit = False
    while not summit:
        summit = True
        here = _height(x, weights, t, least, known)
        for step in range(2, 2 * LOOK + 2):
            beside = t + (step // 2 if step % 2 else -(step // 2))
            if least <= beside <= most and _height(x, weights, beside, least, known) > here:
                t, summit = beside, False
                break
    a = _height(x, weights, t - 1, least, known)
    b = _height(x, weights, t, least, known)
    c = _height(x, weights, t + 1, least, known)
    bend = a - b + (c - b)
    if not bend < 0:
        return t, 0.0, b
    aside = min(max(0.5 * (a - c) / bend, -0.5), 0.5)
    return t, aside, b - 0.5 * (a - c) * aside + 0.5 * bend * aside * aside


@_compile_float
def _height(x: I16, weights: F32, t: int, least: int, known: F64) -> float:
    """The sum of weights times x[t:], worked out once."""
    i = t - least + 1
    if np.isnan(known[i]):
        known[i] = weighed(x[t : t + weights.size], weights)
    return float(known[i])


@_compile
def misfit(x: C64, spectrum: C128, power: F64, height: float, turn: float) -> float:
    """Sum over frequencies k from 1 on of |x - height spectrum exp(-i turn k)|^2 / power."""
    total, step = 0.0, complex(np.cos(turn), -np.sin(turn))
    turned = complex(height, 0.0)
    for k in range(1, spectrum.size):
        turned *= step
        away = x[k] - turned * spectrum[k]
        total += (away.real * away.real + away.imag * away.imag) / power[k]
    return total
