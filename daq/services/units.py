"""A systemd unit that keeps the supervisor of a config alive, where the machine starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from daq.errors import CheckError, StorageError, UsageError
from daq.settings.loader import Settings, runtime_dir

SYSTEM, USER = Path("/etc/systemd/system"), Path("systemd/user")
WATCHDOG_S = 60  # of a supervisor that looks every 0.1 s
STOP_S = 180  # a run is ended and made complete first

UNIT = """\
# Made by `scheelite install-units`; make it again rather than change it.
[Unit]
Description=Scheelite, the readout of {name}
Documentation=file://{config}
After=network-online.target time-sync.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart="{python}" -m daq supervise "{config}"
WorkingDirectory={folder}
Environment="SCHEELITE_RUNTIME={runtime}"
Restart=always
RestartSec=1
WatchdogSec={watchdog}
TimeoutStopSec={stop}
KillMode=mixed
UMask=0077
LimitNOFILE=65536

[Install]
WantedBy={target}
"""


def unit_name(settings: Settings) -> str:
    """What `systemctl` knows it as: one unit for each config file."""
    return f"scheelite-{settings.path.stem}.service"


def unit_text(settings: Settings, *, user: bool) -> str:
    """The unit of a config; its services belong to the user's session or to the machine.

    A double quote, a backslash, % or a newline in a path is refused: systemd reads them otherwise.
    """
    paths = {"python": sys.executable, "config": settings.path.absolute(), "folder": Path.cwd()}
    for what, path in paths.items():
        if set(str(path)) & set('"\\%\n'):
            raise UsageError(f'expected a {what} without " \\ % in its path, found {str(path)!r}')
    return UNIT.format(
        **paths,
        name=settings.path.stem,
        runtime=runtime_dir(),
        watchdog=WATCHDOG_S,
        stop=STOP_S,
        target="default.target" if user else "multi-user.target",
    )


def unit_folder(*, user: bool) -> Path:
    """Where systemd looks for it."""
    if not user:
        return SYSTEM
    config_home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config_home) if config_home else Path.home() / ".config") / USER


def install(settings: Settings, folder: Path, *, user: bool) -> Path:
    """Write the unit, and let systemd check it where it is installed: its path."""
    path = folder / unit_name(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(unit_text(settings, user=user), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    verify(path, user=user)
    return path


def verify(path: Path, *, user: bool) -> None:
    """CheckError with systemd's own words where the unit is wrong; nothing without systemd."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    side = "--user" if user else "--system"
    done = subprocess.run(
        [analyze, side, "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", str(path.parent))},
    )
    said = [line for line in done.stderr.splitlines() if path.name in line]
    if said:
        raise CheckError(f"{path}: systemd refuses it: {'; '.join(said)}")
