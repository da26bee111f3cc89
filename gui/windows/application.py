"""The Qt application: one window, from the command line until it is closed."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from daq.errors import StorageError
from gui.endpoints import Endpoints
from gui.feed import Feed
from gui.palette import PALETTES, Palette, stylesheet
from gui.setup import Setup
from gui.windows.main import MainWindow


@dataclass(frozen=True, slots=True)
class Screenshot:
    """Where the window's picture goes, and how long the window lives until then."""

    path: Path
    after_s: float


def run(endpoints: Endpoints, setup: Setup, theme: str, screenshot: Screenshot | None) -> None:
    """Show the window until it is closed, or until its picture is taken.

    Raises StorageError where the picture cannot be written.
    """
    app = QApplication(["scheelite"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Qt's loop never comes back to Python's
    theme = theme if theme in PALETTES else system_theme(app)
    again = True
    while again:  # another theme is another window
        window = opened(app, endpoints, setup, theme)
        again = False

        def other() -> None:
            nonlocal again
            again = True
            app.quit()

        window.theme_asked.connect(other)
        if screenshot is not None:
            QTimer.singleShot(round(screenshot.after_s * 1000), app.quit)
        app.exec()
        theme = "light" if theme == "dark" else "dark"
        if screenshot is not None:
            take(window, screenshot.path)
        window.close()
        window.deleteLater()


def opened(
    app: QApplication,
    endpoints: Endpoints,
    setup: Setup,
    theme: str,
    settings: QSettings | None = None,
) -> MainWindow:
    """A window in a theme, which listens."""
    palette = PALETTES[theme]
    dress(app, palette)
    feed = Feed(endpoints)
    window = MainWindow(
        feed, setup.channels, palette, about=setup.about, scales=setup.scales, settings=settings
    )
    window.show()
    feed.start()
    return window


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


def take(window: QWidget, path: Path) -> None:
    """Write a picture of the window; StorageError where that fails."""
    if not window.grab().save(str(path)):
        raise StorageError(f"expected to write a picture to {path}, found that impossible")
