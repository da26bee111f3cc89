"""Pictures of every panel, in both themes and two sizes, from the running system."""

from __future__ import annotations

import time
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QEventLoop, QSettings
from PySide6.QtWidgets import QApplication

from gui.endpoints import Endpoints
from gui.keys import PANELS
from gui.setup import Setup
from gui.windows.application import opened, take
from gui.windows.main import MainWindow

SIZES = ((1280, 800), (1920, 1080))
PANEL_S = 1.5  # for a panel to be drawn with what has come
LIST_S = 3.0


def take_all(endpoints: Endpoints, setup: Setup, folder: Path, after_s: float) -> list[Path]:
    """PANEL-THEME-WIDTHxHEIGHT.png in a folder; StorageError where one cannot be written."""
    app = QApplication.instance() or QApplication(["scheelite"])
    assert isinstance(app, QApplication)
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for theme in ("light", "dark"):
        forgotten = QSettings(str(folder / ".arrangement"), QSettings.Format.IniFormat)
        window = opened(app, endpoints, setup, theme, settings=forgotten)
        wait(after_s)
        window.noise.measure_button.click()
        for panel in PANELS:
            taken += _panel(window, panel, theme, folder)
        window.close()
        window.deleteLater()
        (folder / ".arrangement").unlink(missing_ok=True)
    return taken


def _panel(window: MainWindow, panel: str, theme: str, folder: Path) -> list[Path]:
    paths = []
    window.docks.show(panel)
    if panel == "Log":
        window.log_panel.doctor_button.click()
        wait(LIST_S)
    for width, height in SIZES:
        window.resize(width, height)
        window.docks.reset()
        window.docks.show(panel)
        wait(PANEL_S)
        window.show_panels()
        name = panel.lower().replace("/", "-")
        paths.append(folder / f"{name}-{theme}-{width}x{height}.png")
        take(window, paths[-1])
    return paths


def wait(seconds: float) -> None:
    """Let the window work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
        time.sleep(0.005)
