"""The samples of all records of a channel, read where they are asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, overload

import numpy as np

from daq.errors import UsageError
from daq.store.contents import Samples
from daq.store.payloads import SAMPLE


class RecordSamples:
    """int16 [record, sample]: index it with a record, or with a slice of records.

    `numpy.asarray` gives them all; `parts` read a slice of the records that each of them holds.
    """

    def __init__(
        self, parts: Sequence[Callable[[slice], Samples]], counts: Sequence[int], length: int
    ) -> None:
        self._parts, self._stops = parts, list(accumulate(counts))
        self.shape = (sum(counts), length)
        self.dtype = SAMPLE

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, record: int) -> Samples: ...
    @overload
    def __getitem__(self, record: slice) -> Samples: ...
    def __getitem__(self, record: int | slice) -> Samples:
        if isinstance(record, slice):
            start, stop, step = record.indices(len(self))
            if step < 0:
                raise UsageError(f"expected records in order, found a step of {step}")
            return self._range(start, stop)[::step]
        index = range(len(self))[record]
        one: Samples = self._range(index, index + 1)[0]
        return one

    # Any: numpy's protocol passes whatever its caller asked for
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Samples:
        if copy is False:
            raise ValueError("expected a copy to be allowed: the samples are read from files")
        return np.asarray(self[:], dtype or SAMPLE)

    def _range(self, start: int, stop: int) -> Samples:
        found = [np.empty((0, self.shape[1]), SAMPLE)]
        while start < stop:
            part = bisect_right(self._stops, start)
            first, last = self._stops[part - 1] if part else 0, min(stop, self._stops[part])
            found.append(self._parts[part](slice(start - first, last - first)))
            start = last
        return np.concatenate(found)
