"""What the heap keeps and gives back, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import psutil, numpy as np
from daq.services import heap
heap.{first}()
parts = [np.ones(1 << 20, np.uint8) for _ in range(64)]
rss = psutil.Process().memory_info().rss
del parts
{then}
print(rss - psutil.Process().memory_info().rss)
"""


def given_back(first: str, then: str = "") -> int:
    """Bytes of 64 MB that the system has again."""
    script = SCRIPT.format(first=first, then=then)
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return int(told.stdout)


def test_what_is_kept_stays_until_it_is_given_back():
    assert given_back("keep") < 1 << 20
    assert given_back("keep", "heap.give_back()") > 60 << 20
