"""Everything that happened, filtered; the alarms that stand; and the doctor."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
)

from gui.model import alarms
from gui.model.console import Console
from gui.model.frames import Examined
from gui.model.services import Alarm
from gui.windows.log import line
from gui.windows.strip import put

LEVELS = {"everything": ("normal", "attention", "alarm"), "attention": ("attention", "alarm"),
          "alarms": ("alarm",)}  # fmt: skip


class LogPanel(QFrame):
    """The banner on top, the filtered log below it; `acknowledge` carries an alarm's name."""

    acknowledge = Signal(str)
    doctor = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.banner = QVBoxLayout()
        self.alarm_buttons: dict[str, QPushButton] = {}
        self._alarm_key: tuple[tuple[str, str, str], ...] = (("", "", ""),)
        self.level, self.words = QComboBox(), QLineEdit()
        self.doctor_button = QPushButton("Why is there no data?")
        self.lines = QPlainTextEdit()
        self.findings = QLabel()
        self._filter: tuple[int, str, str] = (-1, "", "")
        self._set_up()

    def show_console(self, console: Console) -> None:
        """Show what stands and what happened."""
        self._show_alarms(console.run.body.alarms)
        self._show_findings(console.diagnosis)
        wanted = (console.n_notes, self.level.currentText(), self.words.text().lower())
        if wanted == self._filter:
            return
        self._filter = wanted
        tones = LEVELS[self.level.currentText()]
        shown = [line(note) for note in console.notes if note.tone in tones]
        self.lines.setPlainText("\n".join(s for s in shown if wanted[2] in s.lower()))
        bar = self.lines.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _show_alarms(self, standing: list[Alarm]) -> None:
        key = tuple((a.name, a.state, a.acknowledged_by) for a in standing)
        if key == self._alarm_key:
            return
        self._alarm_key = key
        while self.banner.count():
            item = self.banner.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None:
                widget.deleteLater()
        self.alarm_buttons.clear()
        for alarm in standing:
            self.banner.addWidget(self._row(alarm))
        if not standing:
            calm = QLabel("no alarm stands")
            calm.setProperty("tone", "stale")
            self.banner.addWidget(calm)

    def _row(self, alarm: Alarm) -> QFrame:
        row = QFrame()
        inner = QHBoxLayout(row)
        inner.setContentsMargins(0, 0, 0, 0)
        label = QLabel()
        label.setWordWrap(True)
        put(label, f"{'■' if alarm.calls else '·'} {alarms.sentence(alarm)}", alarms.tone(alarm))
        inner.addWidget(label, 1)
        if alarm.calls:
            button = QPushButton("Acknowledge")
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(lambda: self.acknowledge.emit(alarm.name))
            inner.addWidget(button)
            self.alarm_buttons[alarm.name] = button
        return row

    def _show_findings(self, found: Examined | None) -> None:
        if found is None:
            return
        broken = next((link for link in found.links if not link.get("ok")), None)
        if broken is None:
            put(self.findings, "✓ every link of the chain holds", "normal")
            return
        mend = f" → {broken['mend']}" if broken.get("mend") else ""
        put(self.findings, f"■ {broken.get('link')}: {broken.get('said')}{mend}", "alarm")

    def _set_up(self) -> None:
        self.level.addItems(list(LEVELS))
        self.words.setPlaceholderText("only lines with…")
        self.words.setClearButtonEnabled(True)
        self.words.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.doctor_button.setToolTip("walk the chain from the digitizers to the file (Ctrl+D)")
        for widget in (self.level, self.doctor_button):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.doctor_button.clicked.connect(self.doctor.emit)
        self.findings.setWordWrap(True)
        self.lines.setReadOnly(True)
        self.lines.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.lines.setPlaceholderText("nothing of this kind since this window was opened")
        tools = QHBoxLayout()
        tools.addWidget(self.doctor_button)
        tools.addWidget(self.findings, 1)
        tools.addWidget(self.level)
        tools.addWidget(self.words)
        box = QVBoxLayout(self)
        box.setContentsMargins(12, 8, 12, 8)
        box.addLayout(self.banner)
        box.addLayout(tools)
        box.addWidget(self.lines, 1)
