"""The optimum-filter triggers of detprocess and of cait, on a stream, in their own environment.

Run by test_matched_speed with that environment's Python: `python peers.py NAME STREAM.npz` prints
CPU seconds of one pass over all channels (median) and the number of triggers, as JSON. Reading the
stream, imports and what the peers compute once per filter are not counted.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

REPEATS = 3


def detprocess_search(s: dict[str, np.ndarray]) -> Callable[[np.ndarray], int]:
    from detprocess.core.oftrigger import OptimumFilterTrigger

    two_sided = np.concatenate([s["psd"] / 2, s["psd"][-2:0:-1] / 2])
    rate_hz, pretrigger = float(s["rate_hz"]), int(s["pretrigger"])
    one = OptimumFilterTrigger("a", rate_hz, s["template"].astype(float), two_sided, pretrigger)

    def search(row: np.ndarray) -> int:
        one.update_trace(trace=row, padding=True)
        one.find_triggers_once(float(s["sigmas"]), pileup_window_samples=s["template"].size // 16)
        return len(one.get_trigger_data()["a"]["trigger_index"])

    return search


def cait_search(s: dict[str, np.ndarray]) -> Callable[[np.ndarray], int]:
    from cait.versatile.functions.trigger.trigger_of import trigger_of

    n, spectrum = s["template"].size, np.fft.rfft(s["template"])
    weights = np.conj(spectrum) / s["psd"]
    weights[0] = 0
    # its filters leave a pulse that begins at a quarter of the record where it is
    weights *= np.exp(-2j * np.pi * np.fft.rfftfreq(n) * (n // 4))
    weights *= 1 / np.fft.irfft(weights * spectrum, n).max()
    threshold = float(s["sigmas"] * s["sigma"])
    return lambda row: len(trigger_of(row, threshold, weights)[0])


def main(name: str, path: str) -> None:
    with np.load(path) as stored:
        s = dict(stored)
    search = {"detprocess": detprocess_search, "cait": cait_search}[name](s)
    rows = [row.astype(float) for row in s["x"]]
    search(rows[0])  # what is compiled or planned at the first call
    times, found = [], 0
    for _ in range(REPEATS):
        began = time.process_time()
        found = sum(search(row) for row in rows)
        times.append(time.process_time() - began)
    print(json.dumps({"cpu_s": statistics.median(times), "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
