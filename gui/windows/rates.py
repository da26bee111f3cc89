"""Rates against time, and how much of what there is the triggers find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QSplitter, QVBoxLayout, QWidget

from gui.model.console import Console
from gui.model.text import si
from gui.palette import Palette
from gui.windows.graph import Graph

SPANS = {"15 min": 900.0, "1 h": 3600.0, "8 h": 28_800.0, "2 d": 172_800.0}
ENERGY, FOUND = ("energy", "eV"), ("found", "%")


class RatesPanel(QWidget):
    """All ticked channels above, the selected channel's efficiency below."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self.rates = Graph(palette, ("UTC", ""), ("records", "/s"), utc=True)
        self.curve = Graph(palette, ENERGY, FOUND)
        self._palette = palette
        self.span = QComboBox()
        self.span.addItems(list(SPANS))
        self.span.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.rates.add_tool(self.span)
        self.rates.title.setText("Rates of the ticked channels")
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(self.rates)
        split.addWidget(self.curve)
        split.setSizes([300, 220])
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(split)

    def follow(self, following: bool) -> None:
        """Let both ranges follow, or hold them."""
        self.rates.follow(following)
        self.curve.follow(following)

    def toggle_log(self) -> None:
        """The other kind of axis of the rates."""
        self.rates.toggle_log()

    def show_console(
        self, console: Console, shown: list[str], colors: Mapping[str, str], channel: str
    ) -> None:
        """Draw what is known."""
        since = console.utc_ns / 1e9 - SPANS[self.span.currentText()]
        drawn = []
        for name in shown:
            t_s, rates = console.history.since(f"rate {name}", since)
            if t_s.size > 1:
                self.rates.draw(name, t_s, rates, colors[name])
                drawn.append(name)
        self.rates.keep(*drawn)
        self.rates.say("" if drawn else "no rates yet: is the core up, is a channel ticked?")
        self.rates.settle()
        self._show_efficiency(console, channel, colors.get(channel, self._palette.text))

    def _show_efficiency(self, console: Console, channel: str, color: str) -> None:
        counts = console.core.body.channels.get(channel)
        table = _curve(counts.efficiency if counts else None)
        if table is None:
            self.curve.keep()
            self.curve.title.setText(f"{channel}  efficiency")
            self.curve.say(f"no salts in {channel}: [kinds.*.salting] adds pulses of known energy")
            return
        energies, share, low, high = table
        self.curve.say("")
        self.curve.draw("found", energies, share, color)
        for name, edge in (("low", low), ("high", high)):
            self.curve.draw(name, energies, edge, self._palette.muted, dashed=True)
        half = counts.efficiency.get("half_ev") if counts and counts.efficiency else None
        places = {f"50 % at {si(half, 'eV')}": half} if isinstance(half, int | float) else {}
        self.curve.mark(places)
        self.curve.title.setText(f"{channel}  found of the salts, with the 1 sigma interval")
        self.curve.settle()


Table = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _curve(efficiency: Mapping[str, Any] | None) -> Table | None:  # Any: JSON
    """Energies and, in percent, what was found with its interval; None without any."""
    rows = (efficiency or {}).get("curve") or []
    try:
        table = np.array([[float(value) for value in _row(row)] for row in rows])
    except (TypeError, ValueError, KeyError):
        return None  # a core of another version: nothing is drawn rather than something wrong
    if not len(table):
        return None
    energy, placed, found, low, high = table.T
    return energy, 100 * found / np.maximum(placed, 1), 100 * low, 100 * high


def _row(row: Any) -> list[Any]:  # Any: JSON
    if isinstance(row, Mapping):
        return [row[key] for key in ("energy_ev", "placed", "found", "low", "high")]
    return list(row)
