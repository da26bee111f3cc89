"""The Qt application: one window, from the command line until it is closed."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from daq.errors import StorageError
from gui.feed import Endpoints, Feed
from gui.palette import PALETTES, Palette, stylesheet
from gui.windows.main import MainWindow


@dataclass(frozen=True, slots=True)
class Screenshot:
    """Where the window's picture goes, and how long the window lives until then."""

    path: Path
    after_s: float


def run(
    endpoints: Endpoints, channels: Sequence[str], theme: str, screenshot: Screenshot | None
) -> None:
    """Show the window until it is closed, or until its picture is taken.

    Raises StorageError where the picture cannot be written.
    """
    app = QApplication(["scheelite"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Qt's loop never comes back to Python's
    palette = PALETTES[theme if theme in PALETTES else system_theme(app)]
    dress(app, palette)
    feed = Feed(endpoints)
    window = MainWindow(feed, channels, palette)
    window.show()
    feed.start()
    if screenshot is not None:
        QTimer.singleShot(round(screenshot.after_s * 1000), app.quit)
    app.exec()
    if screenshot is not None:
        take(window, screenshot.path)
    window.close()


def system_theme(app: QApplication) -> str:
    """What the desktop asks for; light where it does not say."""
    dark = app.styleHints().colorScheme() == Qt.ColorScheme.Dark
    return "dark" if dark else "light"


def dress(app: QApplication, palette: Palette) -> None:
    """Give an application a theme."""
    app.setStyle("Fusion")
    colors = QPalette(QColor(palette.page))
    colors.setColor(QPalette.ColorRole.Base, QColor(palette.surface))
    colors.setColor(QPalette.ColorRole.Text, QColor(palette.text))
    colors.setColor(QPalette.ColorRole.WindowText, QColor(palette.text))
    colors.setColor(QPalette.ColorRole.PlaceholderText, QColor(palette.muted))
    app.setPalette(colors)
    app.setStyleSheet(stylesheet(palette))


def take(window: MainWindow, path: Path) -> None:
    """Write a picture of the window; StorageError where that fails."""
    if not window.grab().save(str(path)):
        raise StorageError(f"expected to write a picture to {path}, found that impossible")
