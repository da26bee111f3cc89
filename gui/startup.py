"""Whether Qt can start here, asked in a process of its own, because Qt aborts where it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

PROBE = "from PySide6.QtWidgets import QApplication; QApplication([])"
PROBE_S = 60.0
# what `ldd` finds missing on a bare Debian; .ci/qt-libraries installs the same
LIBRARIES = (
    "libgl1 libegl1 libglx0 libglvnd0 libxkbcommon0 libfontconfig1 libfreetype6 libglib2.0-0 "
    "libdbus-1-3 libx11-6 libxcb1 libx11-xcb1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 "
    "libxcb-keysyms1 libxcb-image0 libxcb-randr0 libxcb-render0 libxcb-render-util0 libxcb-shape0 "
    "libxcb-shm0 libxcb-sync1 libxcb-util1 libxcb-xfixes0 libxcb-xkb1 fonts-dejavu-core"
)


def qt_problem(environment: Mapping[str, str]) -> str:
    """Why Qt cannot start in this environment, with the way out; empty where it can."""
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Qt does not start within {PROBE_S:g} s"
    if probe.returncode == 0:
        return ""
    return f"Qt cannot start here ({_reason(probe.stderr)}); try: apt-get install {LIBRARIES}"


def _reason(stderr: str) -> str:
    """The line that says most: a missing library's or a missing display's."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "cannot open" in line or "could not connect" in line]
    return (telling or lines[-1:] or ["it says nothing"])[0].removeprefix("ImportError: ")
