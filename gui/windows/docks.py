"""The panels as docks: movable, closable, remembered for each user, and put back by one command."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QByteArray, QSettings, Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabWidget, QWidget

VERSION = 1  # of the arrangement: another one is not restored
CENTER = Qt.DockWidgetArea.TopDockWidgetArea
AREAS = {
    "Array": Qt.DockWidgetArea.LeftDockWidgetArea,
    "Channel": Qt.DockWidgetArea.RightDockWidgetArea,
    "Messages": Qt.DockWidgetArea.BottomDockWidgetArea,
}
LEFT_PX, RIGHT_PX, BOTTOM_PX = 330, 215, 84


class Docks:
    """Puts panels into a window."""

    def __init__(
        self, window: QMainWindow, panels: Mapping[str, QWidget], settings: QSettings
    ) -> None:
        self._window, self._settings = window, settings
        self.docks = {name: self._dock(name, widget) for name, widget in panels.items()}
        self._sides = {"Array": LEFT_PX, "Channel": RIGHT_PX, "Messages": BOTTOM_PX}
        self._tabs = [name for name in panels if name not in AREAS]
        window.setDockNestingEnabled(True)
        window.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        for corner, area in _CORNERS.items():
            window.setCorner(corner, area)
        self._arrange()
        self._default = window.saveState(VERSION)
        self._restore()

    def reset(self) -> None:
        """Everything where it belongs."""
        self._window.restoreState(self._default, VERSION)

    def _arrange(self) -> None:
        window = self._window
        for name, dock in self.docks.items():
            window.addDockWidget(AREAS.get(name, CENTER), dock)
        first = self.docks[self._tabs[0]]
        for name in self._tabs[1:]:
            window.tabifyDockWidget(first, self.docks[name])
        first.raise_()
        self.hold_sides()

    def note_sides(self) -> None:
        """Remember how wide the sides are now, as the operator has drawn them."""
        self._sides = {n: _extent(self.docks[n]) for n in AREAS if self._docked(n)} | {
            n: size for n, size in self._sides.items() if not self._docked(n)
        }

    def hold_sides(self) -> None:
        """Keep the sides as wide as they were: what the window has more is the plots'."""
        front = next((self.docks[n] for n in self._tabs if self._docked(n)), None)
        if front is None:
            return
        window, sides = self._window, [n for n in ("Array", "Channel") if self._docked(n)]
        widths = [self._sides[n] for n in sides]
        center_px = max(window.width() - sum(widths), LEFT_PX)
        docks = [self.docks[n] for n in sides]
        window.resizeDocks([*docks, front], [*widths, center_px], Qt.Orientation.Horizontal)
        if self._docked("Messages"):
            low = self._sides["Messages"]
            upright = [front, self.docks["Messages"]]
            window.resizeDocks(upright, [max(window.height() - low, low), low], _VERTICAL)

    def _docked(self, name: str) -> bool:
        return not self.docks[name].isFloating() and not self.docks[name].isHidden()

    def show(self, name: str) -> None:
        """Bring a panel to the front."""
        self.docks[name].show()
        self.docks[name].raise_()

    def front(self) -> list[str]:
        """The panels that can be seen."""
        return [n for n, d in self.docks.items() if not d.visibleRegion().isEmpty()]

    def keep(self) -> None:
        """Remember the arrangement."""
        self._settings.setValue("geometry", self._window.saveGeometry())
        self._settings.setValue("docks", self._window.saveState(VERSION))

    def _restore(self) -> None:
        geometry, docks = self._settings.value("geometry"), self._settings.value("docks")
        if isinstance(geometry, QByteArray):
            self._window.restoreGeometry(geometry)
        if isinstance(docks, QByteArray):
            self._window.restoreState(docks, VERSION)

    def _dock(self, name: str, widget: QWidget) -> QDockWidget:
        dock = QDockWidget(name, self._window)
        dock.setObjectName(name)
        dock.setWidget(widget)
        return dock


_VERTICAL = Qt.Orientation.Vertical
_CORNERS = {
    Qt.Corner.TopLeftCorner: Qt.DockWidgetArea.LeftDockWidgetArea,
    Qt.Corner.BottomLeftCorner: Qt.DockWidgetArea.BottomDockWidgetArea,
    Qt.Corner.TopRightCorner: Qt.DockWidgetArea.RightDockWidgetArea,
    Qt.Corner.BottomRightCorner: Qt.DockWidgetArea.BottomDockWidgetArea,
}


def _extent(dock: QDockWidget) -> int:
    return dock.height() if dock.objectName() == "Messages" else dock.width()
