"""The strip on top, which never moves: is the night all right?"""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout

from gui.model.console import Console
from gui.model.headline import look, sentences
from gui.model.text import count, duration

GOOD = "all services speak, no problem reported"


class Strip(QFrame):
    """State, run and counters in one line, and below it what someone must read."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("strip")
        self.state, self.run, self.elapsed = QLabel(), QLabel(), QLabel()
        self.safe, self.unsafe, self.lost, self.missed = QLabel(), QLabel(), QLabel(), QLabel()
        self.sentence = QLabel()
        self._set_up()

    def show_console(self, console: Console, now_s: float) -> None:
        """Say how things stand now."""
        state = look(console, now_s)
        put(self.state, f"{state.shape} {state.word}", state.tone)
        self._show_run(console, now_s)
        self._show_counts(console, now_s)
        found = sentences(console, now_s)
        text = "   ".join(sentence for _, sentence in found)
        put(self.sentence, text or GOOD, found[0][0] if found else "stale")

    def _show_run(self, console: Console, now_s: float) -> None:
        body, tone = console.run.body, "normal" if console.run.is_fresh(now_s) else "stale"
        name, elapsed = f"run {body.run}", f"{duration(body.elapsed_s)} elapsed"
        put(self.run, "no run" if body.run is None else name, tone)
        put(self.elapsed, "" if body.run is None else elapsed, tone)
        self.run.setToolTip(body.folder or "")

    def _show_counts(self, console: Console, now_s: float) -> None:
        body, fresh = console.core.body, console.core.is_fresh(now_s)
        tone = "normal" if fresh else "stale"
        loss = "alarm" if fresh and body.lost_samples else tone
        put(self.safe, f"safe {count(body.safe.records)}", tone)
        put(self.unsafe, f"unsafe {count(body.unsafe)}", tone)
        put(self.lost, _lost(body.lost_samples, body.gaps), loss)
        put(self.missed, f"not drawn {count(console.n_missed)}", "stale")

    def _set_up(self) -> None:
        tips = {
            self.safe: "records that are on disk, synced",
            self.unsafe: "records on their way to the disk",
            self.lost: "samples lost at the digitizers during this run, in how many gaps",
            self.missed: "messages this window has not shown; the data are not touched by it",
        }
        for label, tip in tips.items():
            label.setToolTip(tip)
        self.state.setProperty("weight", "state")
        self.state.setMinimumWidth(150)
        line = QHBoxLayout()
        line.setSpacing(24)
        for label in (self.state, self.run, self.elapsed):
            line.addWidget(label)
        line.addStretch(1)
        for label in (self.safe, self.unsafe, self.lost, self.missed):
            line.addWidget(label)
        for label in (self.run, self.elapsed, self.safe, self.unsafe, self.lost):
            label.setProperty("weight", "large")
        box = QVBoxLayout(self)
        box.setContentsMargins(12, 6, 12, 6)
        box.addLayout(line)
        box.addWidget(self.sentence)


def put(label: QLabel, text: str, tone: str) -> None:
    """Text in a tone; a label that already says so is left alone."""
    if label.text() != text:
        label.setText(text)
    if label.property("tone") != tone:
        label.setProperty("tone", tone)
        label.style().polish(label)


def _lost(n_samples: int, n_gaps: int) -> str:
    if not n_samples:
        return "lost 0"
    gaps = "1 gap" if n_gaps == 1 else f"{count(n_gaps)} gaps"
    return f"▲ lost {count(n_samples)} samples in {gaps}"
