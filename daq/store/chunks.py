"""The two loops of HDF5's chunk filters that h5py runs slowly: shuffle and Fletcher-32.

Byte for byte what HDF5's own filters make and check (H5Zshuffle.c, H5checksum.c in HDF5 1.14).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

Bytes = npt.NDArray[np.uint8]
F = TypeVar("F", bound=Callable[..., Any])  # Any: a kernel's own signature stands beside it


def _compile(kernel: F) -> F:
    """Compiled at the first call, kept on disk, without the interpreter's lock."""
    return cast(F, njit(cache=True, nogil=True, boundscheck=False)(kernel))


@_compile
def shuffle_pairs(raw: Bytes, out: Bytes) -> None:
    """All first bytes of two-byte items, then all second ones."""
    n = raw.size // 2
    for i in range(n):
        out[i] = raw[2 * i]
    for i in range(n):
        out[n + i] = raw[2 * i + 1]


@_compile
def unshuffle_pairs(shuffled: Bytes, out: Bytes) -> None:
    """Undo `shuffle_pairs`; `out` may hold fewer items, of which the first are wanted."""
    n = shuffled.size // 2
    for i in range(out.size // 2):
        out[2 * i] = shuffled[i]
        out[2 * i + 1] = shuffled[n + i]


@_compile
def shuffle(raw: Bytes, size: int, out: Bytes) -> None:
    """The same for items of any `size`; `raw` holds whole items."""
    n = raw.size // size
    for k in range(size):
        for i in range(n):
            out[k * n + i] = raw[i * size + k]


@_compile
def fletcher32(data: Bytes) -> np.uint64:
    """HDF5's checksum over big-endian words; an odd last byte counts as a word's upper half.

    HDF5 adds in 32 bits and folds carries back, which turns a multiple of 65535 into 65535.
    """
    odd = data.size % 2
    n = data.size // 2
    first, second = np.uint64(0), np.uint64(0)
    for i in range(n):
        word = np.uint64((np.uint32(data[2 * i]) << 8) | np.uint32(data[2 * i + 1]))
        first += word
        second += np.uint64(n + odd - i) * word
    if odd:
        word = np.uint64(np.uint32(data[data.size - 1]) << 8)
        first += word
        second += word
    low, high = first % np.uint64(65535), second % np.uint64(65535)
    if low == 0 and first > 0:
        low = np.uint64(65535)
    if high == 0 and second > 0:
        high = np.uint64(65535)
    return (high << np.uint64(16)) | low
