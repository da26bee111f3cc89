"""A second pulse in a record: where the samples rise again, far above the record's own noise.

d[i] is the sum of `span` samples after i less that of the `span` samples up to i. Its noise is
that of the pretrigger. Behind the record's own pulse d must first fall below half the threshold;
where it then reaches it, a pulse begins behind the largest d of that rise. A decaying tail only
falls: it never fires.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq.acquire.kernels import I16, I64, _compile

Bools = npt.NDArray[np.bool_]


@_compile
def second_pulses(
    samples: I16, pretrigger: int, span: int, sigma: float, signs: I64, own: Bools, found: I64
) -> None:
    """found[record] = sample at which the next pulse begins, -1 for none.

    `samples` is int16 [record, sample]; `signs` is 1 for pulses that go up, -1 for down; `own`
    says whether a pulse is at the trigger. Needs 3 x span samples of pretrigger.
    """
    length = samples.shape[1]
    for r in range(samples.shape[0]):
        x, sign = samples[r], signs[r]
        total, squares, n = 0.0, 0.0, 0
        d = np.int64(0)
        for k in range(span):
            d += np.int64(x[span + k]) - np.int64(x[k])
        found[r] = -1
        threshold, armed, best, at = 0.0, not own[r], np.int64(0), -1
        for i in range(span - 1, length - span):
            if i >= span:
                d += np.int64(x[i + span]) - 2 * np.int64(x[i]) + np.int64(x[i - span])
            if i + span < pretrigger:
                value = np.float64(d)
                total, squares, n = total + value, squares + value * value, n + 1
            elif i >= pretrigger + span:
                if threshold == 0.0:
                    variance = squares / n - (total / n) ** 2
                    threshold = sigma * np.sqrt(max(variance, span / 6.0))
                value = np.float64(sign * d)
                if at < 0 and not armed:
                    armed = bool(value < threshold / 2)
                elif (at < 0 and value >= threshold) or (at >= 0 and sign * d > best):
                    best, at = np.int64(sign * d), i
                elif at >= 0 and value < threshold:
                    break
        if at >= 0:
            found[r] = at + 1
