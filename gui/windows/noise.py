"""The noise of the selected channel against frequency, with a reference and a model over it."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QPushButton

from gui.model.console import Console
from gui.model.noise import Density, of_records, thinned, white_and_slow
from gui.model.text import si
from gui.palette import Palette
from gui.windows.graph import Graph

STREAM_S = 2.0
FREQUENCY = ("frequency", "Hz")


class NoisePanel(Graph):
    """Amplitude densities in A/sqrt(Hz) where the readout is known, else in V/sqrt(Hz)."""

    measure = Signal()  # take the channel's stream

    def __init__(self, palette: Palette) -> None:
        super().__init__(palette, FREQUENCY, ("noise", "V/√Hz"))
        self._references: dict[str, Density] = {}
        self._shown: Density | None = None
        self._channel = ""
        self.measure_button = _button(
            "Measure", f"take {STREAM_S:g} s of the stream, undecimated; pulses do not count"
        )
        self.keep_button = _button("Keep as reference", "draw this one below all later ones")
        self.model_box = QCheckBox("white + 1/f")
        self.model_box.setToolTip("a white level and a 1/f part, fitted to what is shown")
        self.model_box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.model_box.setChecked(True)
        for tool in (self.measure_button, self.keep_button, self.model_box):
            self.add_tool(tool)
        self.measure_button.clicked.connect(self.measure.emit)
        self.keep_button.clicked.connect(self.keep_reference)
        self.set_log(x=True, y=True)

    def keep_reference(self) -> None:
        """What is shown now is the reference of its channel."""
        if self._shown is not None:
            self._references[self._channel] = self._shown

    def show_channel(self, console: Console, channel: str, color: str) -> None:
        """Draw a channel's noise."""
        self._channel = channel
        density = console.streams.get(channel) or of_records(console.records.of(channel))
        self._shown = density
        factor, unit = console.scales.factor(channel, "A"), "A/√Hz"
        if factor is None:
            factor, unit = 1.0, "V/√Hz"
        self.name_axes(FREQUENCY, ("noise", unit))
        self.keep_button.setEnabled(density is not None)
        if density is None:
            self._say_none(channel)
            return
        self.say("")
        self._draw_all(channel, density, factor, color)
        self.title.setText(_words(channel, density, factor, unit))
        self.settle()

    def _draw_all(self, channel: str, density: Density, factor: float, color: str) -> None:
        f, asd = thinned(density)
        self.draw("noise", f, asd * factor, color)
        reference = self._references.get(channel)
        if reference is not None and reference is not density:
            ref_f, ref_asd = thinned(reference)
            self.draw("reference", ref_f, ref_asd * factor, self._palette.muted)
        else:
            self.keep("noise", "model")
        if self.model_box.isChecked():
            white, corner_hz = white_and_slow(density)
            model = white * np.sqrt(1 + corner_hz / f)
            self.draw("model", f, model * factor, self._palette.attention, dashed=True)
        else:
            self.keep("noise", "reference")

    def _say_none(self, channel: str) -> None:
        self.keep()
        self.title.setText(f"{channel}  noise")
        self.say(
            f"no noise record of {channel} yet: give its kind a random trigger, or press Measure"
        )


def _words(channel: str, density: Density, factor: float, unit: str) -> str:
    white, corner_hz = white_and_slow(density)
    pieces = f"{density.n} {density.source}" if density.source != "stream" else "of the stream"
    corner = f", 1/f below {si(corner_hz, 'Hz', 2)}" if corner_hz > 0 else ""
    return f"{channel}  noise, {pieces}: white {si(white * factor, unit)}{corner}"


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button
