"""Asking a child process about run files: HDF5 can crash or hang on a damaged one."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import msgspec

from daq.store.check import Finding

PACKAGES = Path(__file__).parents[2]
TIMEOUT_S = 60.0  # for one file of at most some tens of megabytes


class Checker:
    """Checks files in a child; one that dies or is silent too long is replaced by a new one."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Checker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def check(self, path: Path) -> Finding:
        """What is wrong with a file; that it cannot be read, where the child does not survive."""
        child = self._child = self._child or start("daq.store.check")
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(os.fsencode(path) + b"\n")
            child.stdin.flush()
            answer = self._line(child.stdout.fileno())
        except BrokenPipeError:
            answer = b""
        try:
            return msgspec.json.decode(answer or b"", type=Finding)
        except msgspec.DecodeError:
            why = self._why(child, answer)
        self._end()
        return Finding(problems=[f"{path.name}: cannot be read: {why}"])

    def _why(self, child: subprocess.Popen[bytes], answer: bytes | None) -> str:
        if answer is None:
            return f"no answer within {self._timeout_s:g} s"
        return "no answer that can be understood" if answer else died(child)

    def _line(self, fd: int) -> bytes | None:
        """The child's next line; b"" when it died, None when it says nothing."""
        found = b""
        while not found.endswith(b"\n"):
            if not select.select([fd], [], [], self._timeout_s)[0]:
                return None
            piece = os.read(fd, 1 << 16)
            if not piece:
                return b""
            found += piece
        return found

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            with self._child:  # which closes its pipes and waits for it
                self._child = None


def start(module: str) -> subprocess.Popen[bytes]:
    """A child that runs a module of ours, spoken to through its pipes."""
    path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # HDF5's own words; ours come in the answer
        env={**os.environ, "PYTHONPATH": path},
    )


def died(child: subprocess.Popen[bytes]) -> str:
    """What a child died of that gave no answer."""
    code = child.wait()
    return f"the process that read it died of signal {-code}" if code < 0 else f"exit code {code}"
