"""Pictures of every panel, in both themes and two sizes, from the running system."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import (
    QCoreApplication,
    QEventLoop,
    QMessageLogContext,
    QSettings,
    QtMsgType,
    qInstallMessageHandler,
)
from PySide6.QtWidgets import QApplication

from gui.endpoints import Endpoints
from gui.keys import PANELS
from gui.setup import Setup
from gui.windows.application import opened, take
from gui.windows.main import MainWindow

SIZES = ((1280, 800), (1920, 1080))
PANEL_S = 0.7  # for a panel to be drawn with what has come
DOCTOR_S = 30.0


def take_all(endpoints: Endpoints, setup: Setup, folder: Path, after_s: float) -> list[Path]:
    """PANEL-THEME-WIDTHxHEIGHT.png in a folder; StorageError where one cannot be written."""
    app = QApplication.instance() or QApplication(["scheelite"])
    assert isinstance(app, QApplication)
    qInstallMessageHandler(_heard)
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for theme in ("light", "dark"):
        for size in SIZES:
            taken += _in_size(app, (endpoints, setup), theme, size, folder, after_s)
    return taken


def _in_size(
    app: QApplication,
    system: tuple[Endpoints, Setup],
    theme: str,
    size: tuple[int, int],
    folder: Path,
    after_s: float,
) -> list[Path]:
    """All panels of one window, which is opened in its size."""
    forgotten = QSettings(str(folder / ".arrangement"), QSettings.Format.IniFormat)
    window = opened(app, *system, theme, settings=forgotten)
    window.resize(*size)
    wait(after_s)
    window.noise.measure_button.click()
    window.log_panel.doctor_button.click()
    taken = [_picture(window, panel, folder, theme) for panel in PANELS]
    window.close()
    window.deleteLater()
    (folder / ".arrangement").unlink(missing_ok=True)
    return taken


def _picture(window: MainWindow, panel: str, folder: Path, theme: str) -> Path:
    window.docks.show(panel)
    wait(PANEL_S)
    if panel == "Log":
        wait(DOCTOR_S, lambda: window.console.diagnosis is not None)
    window.show_panels()
    name = f"{panel.lower().replace('/', '-')}-{theme}-{window.width()}x{window.height()}.png"
    take(window, folder / name)
    return folder / name


def wait(seconds: float, done: Callable[[], bool] = lambda: False) -> None:
    """Let the window work for so long, or until it is done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not done():
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
        time.sleep(0.005)


def _heard(_kind: QtMsgType, _where: QMessageLogContext, said: str) -> None:
    """Qt's words, without what the offscreen platform says of every window."""
    if "propagateSizeHints" not in said:
        sys.stderr.write(f"{said}\n")
