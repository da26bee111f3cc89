"""What the C library's heap keeps and gives back (glibc, mallopt(3) and malloc_trim(3))."""

from __future__ import annotations

import ctypes

LIBC = ctypes.CDLL(None)
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
KEPT, AT_ONCE, LARGE = 512 << 20, 32 << 20, 64 << 20  # bytes


def keep() -> None:
    """For who takes in samples for ever: as much as comes in goes out again, and fresh pages from
    the system cost more than what is done with them."""
    for parameter, n_bytes in (
        (TRIM_THRESHOLD, KEPT),
        (TOP_PAD, AT_ONCE),
        (MMAP_THRESHOLD, LARGE),
    ):
        LIBC.mallopt(parameter, n_bytes)


def give_back() -> None:
    """For who does much once in a while: else the heap stays as large as it was at most."""
    LIBC.malloc_trim(0)
