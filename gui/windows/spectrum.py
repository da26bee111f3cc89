"""Pulse heights, or energies, of the selected channel as the core has counted them."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox

from gui.model.console import Console
from gui.model.spectra import LINES
from gui.model.text import count, duration
from gui.palette import Palette
from gui.windows.graph import Graph

SPANS: dict[str, float | None] = {
    "since the start": None, "last 5 min": 5.0, "last 15 min": 15.0, "last hour": 60.0,
}  # fmt: skip
BINS = ("512", "256", "128", "64")


class SpectrumPanel(Graph):
    """A histogram with the places of known lines, linear or logarithmic."""

    def __init__(self, palette: Palette) -> None:
        super().__init__(palette, ("pulse height", "counts"), ("counts per bin", ""))
        self.span, self.bins, self.log_box = QComboBox(), QComboBox(), QCheckBox("log")
        self.lines_box = QCheckBox("lines")
        self.lines_box.setToolTip("X-ray lines that one looks for, where the channel is calibrated")
        self.span.addItems(list(SPANS))
        self.bins.addItems(list(BINS))
        self.bins.setCurrentText("512")
        self.bins.setToolTip("bins")
        self.lines_box.setChecked(True)
        for tool in (self.span, self.bins, self.lines_box, self.log_box):
            tool.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            self.add_tool(tool)
        self.log_box.toggled.connect(lambda on: self.set_log(y=on))

    def toggle_log(self) -> None:
        """The other kind of axis upward."""
        self.log_box.toggle()

    def show_channel(self, console: Console, channel: str, color: str, now_s: float) -> None:
        """Draw a channel's."""
        minutes, bins = SPANS[self.span.currentText()], int(self.bins.currentText())
        shown = console.spectra.of(channel, minutes, bins, now_s)
        if shown is None or not shown.counts.any():
            self.keep()
            self.mark({})
            self.title.setText(f"{channel}  spectrum")
            run = "" if console.core.body.run is not None else ": start a run"
            self.say(f"no pulses of {channel} yet{run}")
            return
        self.say("")
        what = "energy" if shown.unit == "eV" else "pulse height"
        self.name_axes((what, shown.unit), ("counts per bin", ""))
        self.steps("counts", shown.edges, shown.counts.astype(np.float64), color)
        top = float(shown.edges[np.flatnonzero(shown.counts)[-1] + 1])
        wanted = self.lines_box.isChecked() and shown.unit == "eV"
        self.mark({n: e for n, e in LINES.items() if e < top} if wanted else {})
        over = "since the run began" if shown.over_s is None else f"in {duration(shown.over_s)}"
        self.title.setText(f"{channel}  {count(int(shown.counts.sum()))} pulses {over}")
        self.settle()

    def fit(self) -> None:
        """From zero to the last pulse."""
        x, y = self.data("counts")
        if not y.size or not (y > 0).any():
            return
        last = float(x[np.flatnonzero(y)[-1]])
        high = float(y.max())
        low_y, high_y = (-0.3, np.log10(high) + 0.2) if self.log_y else (0.0, high * 1.1)
        self.plot.setRange(xRange=(0, last * 1.02), yRange=(low_y, high_y), padding=0)
