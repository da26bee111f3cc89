"""Colors, text sizes and spacing of every window, light and dark: one table."""

from __future__ import annotations

from dataclasses import dataclass, fields
from string import Template
from typing import Final


@dataclass(frozen=True, slots=True)
class Palette:
    """One theme; every text color has at least 4.5:1 on `page` and `surface`."""

    page: str
    surface: str
    line: str
    text: str
    muted: str
    attention: str
    alarm: str
    selection: str
    on_selection: str
    chosen: str
    channels: tuple[str, ...]

    def tone(self, tone: str) -> str:
        """The text color of a tone: "stale", "normal", "attention" or "alarm"."""
        table = {"stale": self.muted, "attention": self.attention, "alarm": self.alarm}
        return table.get(tone, self.text)

    def channel(self, index: int) -> str:
        """The color of the config's `index`-th channel; they repeat after seven."""
        return self.channels[index % len(self.channels)]


# Okabe and Ito's set without its yellow, which white paper swallows, and with its black as the
# text color; orange and sky blue are darker by day, blue and green are lighter by night.
PALETTES: Final = {
    "light": Palette(
        page="#f3f4f6",
        surface="#ffffff",
        line="#d5d9de",
        text="#191c20",
        muted="#59616b",
        attention="#8a4b00",
        alarm="#b3201a",
        selection="#0b5cad",
        on_selection="#ffffff",
        chosen="#d5e5f6",
        channels=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#191c20"),
    ),
    "dark": Palette(
        page="#101316",
        surface="#171b1f",
        line="#343b43",
        text="#e7eaee",
        muted="#9aa4af",
        attention="#ffb74d",
        alarm="#ff8a80",
        selection="#2f6fb3",
        on_selection="#ffffff",
        chosen="#1d3b5a",
        channels=("#3a9bdc", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#e7eaee"),
    ),
}

TEXT_PX: Final = {"small": 11, "normal": 13, "large": 15, "state": 20}
SPACE_PX: Final = 8

_SHEET = Template("""
* { font-size: ${normal}px; color: $text; }
QMainWindow, QWidget#page, QMessageBox { background: $page; }
QFrame#strip, QFrame#panel { background: $surface; border: 1px solid $line; border-radius: 4px; }
QLabel { background: transparent; border: none; }
QLabel[weight="large"] { font-size: ${large}px; }
QLabel[weight="state"] { font-size: ${state}px; font-weight: 600; }
QLabel[tone="stale"] { color: $muted; }
QLabel[tone="attention"] { color: $attention; }
QLabel[tone="alarm"] { color: $alarm; font-weight: 600; }
QPushButton { background: $surface; border: 1px solid $muted; padding: 4px 12px; }
QPushButton:hover:enabled { border-color: $selection; }
QPushButton:checked { background: $selection; color: $on_selection; border-color: $selection; }
QPushButton:disabled { color: $muted; border-color: $line; background: $page; }
QLineEdit { background: $surface; border: 1px solid $muted; padding: 4px 6px; }
QLineEdit:focus { border-color: $selection; }
QTableWidget, QPlainTextEdit { background: $surface; border: 1px solid $line; }
QTableWidget { selection-background-color: $chosen; selection-color: $text; }
QHeaderView, QHeaderView::section { background: $surface; color: $muted; border: none; }
QHeaderView::section { padding: 3px 6px; border-bottom: 1px solid $line; }
QPlainTextEdit { font-size: ${small}px; }
QDockWidget { titlebar-close-icon: none; }
QDockWidget::title { background: $page; padding: 3px 6px; color: $muted; }
QMainWindow::separator { background: $page; width: 6px; height: 6px; }
QTabBar::tab { background: $page; color: $muted; padding: 4px 10px;
  border: 1px solid $line; border-bottom: none; }
QTabBar::tab:selected { background: $surface; color: $text; border-top: 2px solid $selection; }
QTabBar::tab:hover { color: $text; }
QComboBox, QSpinBox { background: $surface; border: 1px solid $muted; padding: 2px 6px; }
QComboBox QAbstractItemView { background: $surface; selection-background-color: $chosen;
  selection-color: $text; }
QScrollArea { border: none; background: transparent; }
QWidget#sheet { background: $surface; }
QPushButton[cell="true"] { text-align: left; padding: 4px 6px; border: 1px solid $line;
  border-left: 4px solid $muted; font-size: ${small}px; }
QPushButton[cell="true"][tone="normal"] { border-left-color: $line; color: $text; }
QPushButton[cell="true"][tone="stale"] { color: $muted; }
QPushButton[cell="true"][tone="attention"] { border-left-color: $attention; color: $attention; }
QPushButton[cell="true"][tone="alarm"] { border-left-color: $alarm; color: $alarm; }
QPushButton[cell="true"]:checked { background: $chosen; border: 2px solid $selection;
  color: $text; }
QPushButton[tone="alarm"] { color: $alarm; border-color: $alarm; font-weight: 600; }
QPushButton[tone="attention"] { color: $attention; border-color: $attention; }
QLineEdit[tone="alarm"] { border-color: $alarm; }
QSplitter::handle { background: $page; }
QToolTip { background: $surface; color: $text; border: 1px solid $line; }
""")


def stylesheet(palette: Palette) -> str:
    """The Qt style sheet of a theme."""
    colors = {field.name: getattr(palette, field.name) for field in fields(palette)}
    return _SHEET.substitute(colors, **TEXT_PX)
