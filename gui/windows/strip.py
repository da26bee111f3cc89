"""The strip on top, which never moves: is the night all right?"""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from gui.model import alarms
from gui.model.console import Console
from gui.model.cryostat import base
from gui.model.headline import look, sentences
from gui.model.runfacts import disk_text, exposure_text
from gui.model.text import NONE, count, duration, si
from gui.windows.plotting import elastic

GOOD = "all services speak, no problem reported"
SHORT_H = 4.0  # room for less than this deserves attention


class Strip(QFrame):
    """State, run and counters in one line; below it the lease, room, cold, alarms and sentences."""

    alarms_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("strip")
        self.state, self.run, self.elapsed, self.exposure = QLabel(), QLabel(), QLabel(), QLabel()
        self.safe, self.unsafe, self.lost, self.missed = QLabel(), QLabel(), QLabel(), QLabel()
        self.lease, self.disk, self.cold = QLabel(), QLabel(), QLabel()
        self.alarms = QPushButton()
        self.sentence = QLabel()
        self._set_up()

    def show_console(self, console: Console, now_s: float) -> None:
        """Say how things stand now."""
        state = look(console, now_s)
        put(self.state, f"{state.shape} {state.word}", state.tone)
        self._show_run(console, now_s)
        self._show_counts(console, now_s)
        self._show_place(console, now_s)
        self._show_alarms(console, now_s)
        found = sentences(console, now_s)
        text = "   ".join(sentence for _, sentence in found)
        put(self.sentence, text or GOOD, found[0][0] if found else "stale")
        self.sentence.setToolTip(text)

    def _show_run(self, console: Console, now_s: float) -> None:
        body, tone = console.run.body, "normal" if console.run.is_fresh(now_s) else "stale"
        label = console.core.body.label
        name = f"run {body.run}" + (f"  {label}" if label else "")
        elapsed = f"{duration(body.elapsed_s)} elapsed"
        put(self.run, "no run" if body.run is None else name, tone)
        put(self.elapsed, "" if body.run is None else elapsed, tone)
        self.run.setToolTip(body.folder or "")

    def _show_counts(self, console: Console, now_s: float) -> None:
        body, fresh = console.core.body, console.core.is_fresh(now_s)
        tone = "normal" if fresh else "stale"
        loss = "alarm" if fresh and body.lost_samples else tone
        put(self.exposure, f"exposure {exposure_text(body.exposure_g_d)}", tone)
        put(self.safe, f"safe {count(body.safe.records)}", tone)
        put(self.unsafe, f"unsafe {count(body.unsafe)}", tone)
        put(self.lost, _lost(body.lost_samples, body.gaps), loss)
        put(self.missed, f"not drawn {count(console.n_missed)}", "stale")

    def _show_place(self, console: Console, now_s: float) -> None:
        held, run_fresh = console.run.body.lease, console.run.is_fresh(now_s)
        mine = held is not None and held.who == console.about.operator
        words = "free" if held is None else held.who + (" (you)" if mine else "")
        put(self.lease, f"lease {words}", "normal" if run_fresh else "stale")
        hours, fresh = console.core.body.disk_hours_left, console.core.is_fresh(now_s)
        short = hours is not None and hours < SHORT_H
        tone = "attention" if short else "normal"
        put(self.disk, f"{'▲ ' * short}disk {disk_text(hours)}", tone if fresh else "stale")
        stage = base(console.instruments.body.readings)
        cold = NONE if stage is None or stage.kelvin is None else si(stage.kelvin, "K", 4)
        known = console.instruments.is_fresh(now_s) and stage is not None
        put(self.cold, f"base {cold}", "normal" if known else "stale")
        self.cold.setToolTip(f"{stage.place}: {stage.reading}" if stage else "no thermometer")

    def _show_alarms(self, console: Console, now_s: float) -> None:
        calling = alarms.calling(console.run.body.alarms)
        n = len(calling)
        text = f"▲ {n} alarm{'s' * (n > 1)}" if n else "no alarm"
        worst = alarms.tone(calling[0]) if calling else "normal"
        put(self.alarms, text, worst if console.run.is_fresh(now_s) else "stale")
        self.alarms.setToolTip("\n".join(alarms.sentence(alarm) for alarm in calling))

    def _set_up(self) -> None:
        tips = {
            self.exposure: "live time x mass of all crystals in this run",
            self.safe: "records that are on disk, synced",
            self.unsafe: "records on their way to the disk",
            self.lost: "samples lost at the digitizers during this run, in how many gaps",
            self.missed: "messages this window has not shown; the data are not touched by it",
            self.lease: "who commands; Run has the buttons",
            self.disk: "how long a run can go on before the disk is full",
        }
        for label, tip in tips.items():
            label.setToolTip(tip)
        self.state.setProperty("weight", "state")
        self.state.setMinimumWidth(150)
        upper = (self.state, self.run, self.elapsed, self.exposure)
        counts = (self.safe, self.unsafe, self.lost)
        for label in (*upper[1:], *counts):
            label.setProperty("weight", "large")
        self.alarms.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.alarms.clicked.connect(self.alarms_asked.emit)
        box = QVBoxLayout(self)
        box.setContentsMargins(12, 6, 12, 6)
        box.setSpacing(2)
        box.addLayout(_line(upper, counts))
        places = (self.missed, self.lease, self.disk, self.cold, self.alarms)
        lower = QHBoxLayout()
        lower.setSpacing(20)
        lower.addWidget(elastic(self.sentence), 1)
        for widget in places:
            lower.addWidget(widget)
        box.addLayout(lower)


def put(label: QLabel | QPushButton, text: str, tone: str) -> None:
    """Text in a tone; a label that already says so is left alone."""
    if label.text() != text:
        label.setText(text)
    if label.property("tone") != tone:
        label.setProperty("tone", tone)
        label.style().polish(label)


def _line(left: tuple[QLabel, ...], right: tuple[QLabel, ...]) -> QHBoxLayout:
    line = QHBoxLayout()
    line.setSpacing(24)
    for label in left:
        line.addWidget(label)
    line.addStretch(1)
    for label in right:
        line.addWidget(label)
    return line


def _lost(n_samples: int, n_gaps: int) -> str:
    if not n_samples:
        return "lost 0"
    gaps = "1 gap" if n_gaps == 1 else f"{count(n_gaps)} gaps"
    return f"▲ lost {count(n_samples)} samples in {gaps}"
