"""`python -m tests.faults.viewer ENDPOINT...`: a window's socket without a window."""

from __future__ import annotations

import sys

from daq.wire import sockets


def main() -> None:
    """Take what is shown, for ever; a line says that it begins."""
    eyes = sockets.subscribe(*sys.argv[1:])
    print("looking", flush=True)
    while True:
        sockets.receive(eyes)


if __name__ == "__main__":
    main()
