"""Normal deviates as a pure function of (key, counter), for kernels; by ziggurat.

Marsaglia and Tsang, J. Stat. Softw. 5 (2000) 8, with 256 layers; a refused draw hashes the
counter again with the number of the attempt. The hash is the finalizer of SplitMix64.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from numba import njit

_LAYERS = 256
_R, _AREA = 3.6541528853610088, 0.00492867323399  # where the tail begins; of each layer
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_U27, _U30, _U31, _U11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
_LAYER, _SIGN, _ONE = np.uint64(0xFF), np.uint64(0x100), np.uint64(1)
_UNIT = 2.0**-53

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=4096)
def key(seed: int, channel: str, purpose: str) -> int:
    """A key of its own for each (seed, channel, purpose)."""
    said = f"{seed}\n{channel}\n{purpose}".encode()
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "little")


def _edges() -> Floats:
    """x of the layers, falling; the first is that of the base strip with its tail."""
    x = np.zeros(_LAYERS + 1)
    x[0], x[1] = _AREA / np.exp(-_R * _R / 2), _R
    for i in range(2, _LAYERS):
        x[i] = np.sqrt(-2 * np.log(_AREA / x[i - 1] + np.exp(-x[i - 1] * x[i - 1] / 2)))
    return x


_X = _edges()
_Y = np.exp(-_X * _X / 2)


@njit(nogil=True, cache=True, inline="always")
def mixed(x: np.uint64) -> np.uint64:
    """The finalizer of SplitMix64."""
    x = (x ^ (x >> _U30)) * _M1
    x = (x ^ (x >> _U27)) * _M2
    return x ^ (x >> _U31)


@njit(nogil=True, cache=True)
def normal(key_: np.uint64, counter: np.uint64) -> float:
    """One standard normal deviate."""
    bits = mixed(mixed(counter * _GOLDEN) + key_)
    layer = np.int64(bits & _LAYER)
    x = float(np.float64(bits >> _U11) * _UNIT * _X[layer])
    if x >= _X[layer + 1]:
        x = _refused(bits, layer, x)
    return -x if bits & _SIGN else x


@njit(nogil=True, cache=True)
def _refused(bits: np.uint64, layer: np.int64, x: float) -> float:
    """What becomes of a draw outside the layer's rectangle: the tail, the wedge, or again."""
    while True:
        bits = mixed(bits + _GOLDEN)
        v = (np.float64(bits >> _U11) + 0.5) * _UNIT
        if layer == 0:
            bits = mixed(bits + _GOLDEN)
            w = (np.float64(bits >> _U11) + 0.5) * _UNIT
            beyond = -np.log(v) / _R
            if -2 * np.log(w) > beyond * beyond:
                return float(_R + beyond)
            continue
        if _Y[layer] + v * (_Y[layer + 1] - _Y[layer]) < np.exp(-x * x / 2):
            return x
        bits = mixed(bits + _GOLDEN)
        layer = np.int64(bits & _LAYER)
        x = float(np.float64(bits >> _U11) * _UNIT * _X[layer])
        if x < _X[layer + 1]:
            return x


@njit(nogil=True, cache=True)
def fill(out: Floats, key_: np.uint64, first: np.uint64) -> None:
    """The deviates of the counters from `first` on."""
    for i in range(out.size):
        out[i] = normal(key_, first + np.uint64(i))
