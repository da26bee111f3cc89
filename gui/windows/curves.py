"""V-phi and IV of the selected channel, while they are measured and as they were last."""

from __future__ import annotations

import numpy as np
from PySide6.QtWidgets import QHBoxLayout, QWidget

from daq.wire.schemas import Progress
from gui.model.console import Console
from gui.model.forms import labelled
from gui.model.text import clock
from gui.palette import Palette
from gui.windows.graph import Graph

SIDES = (("v-phi", "proof"), ("iv", "noise"))  # that which goes on is drawn, else the first
WORDS = {"runs": "◌", "passed": "✓", "failed": "■ failed", "over": "✓"}
EMPTY = (
    "no V-phi of {channel} yet:\nTune measures one",
    "no IV of {channel} yet:\nTune measures one",
)


class CurvesPanel(QWidget):
    """Two plots side by side."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self._palette = palette
        self.squid = Graph(palette, ("current in the flux line", ""), ("output", ""))
        self.sensor = Graph(palette, ("TES bias", ""), ("output", ""))
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        for graph in (self.squid, self.sensor):
            line.addWidget(graph, 1)

    def follow(self, following: bool) -> None:
        """Let both ranges follow, or hold them."""
        self.squid.follow(following)
        self.sensor.follow(following)

    def show_channel(self, console: Console, channel: str, color: str) -> None:
        """Draw what is known of a channel."""
        for graph, steps, empty in zip((self.squid, self.sensor), SIDES, EMPTY, strict=True):
            row = console.tunings.drawn(channel, steps)
            if row is None:
                graph.keep()
                graph.title.setText(f"{channel}  {steps[0]}")
                graph.say(empty.format(channel=channel) if channel else "")
            else:
                self._draw(graph, row, color)

    def _draw(self, graph: Graph, row: Progress, color: str) -> None:
        graph.say("")
        graph.name_axes((labelled(row.x_label), ""), (labelled(row.y_label), ""))
        for curve in row.curves:
            x, y = np.array(curve.x), np.array(curve.y)
            if curve.points:
                graph.dots(curve.name, x, y, color)
            else:
                graph.draw(curve.name, x, y, self._palette.muted)
        graph.keep(*(curve.name for curve in row.curves))
        graph.title.setText(_words(row))
        graph.settle()


def _words(row: Progress) -> str:
    done = f"  {100 * row.fraction:.0f} %" if row.state == "runs" else f"  {clock(row.t_ns)} UTC"
    return f"{row.at}  {row.title}  {WORDS[row.state]}{done}"
