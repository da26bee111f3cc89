"""The buttons: start, pause and stop the run, comment and label it, hold the plots."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QMessageBox, QPushButton, QWidget

from gui.keys import KEYS
from gui.model.console import Console
from gui.palette import SPACE_PX

PENDING = {
    "start": "Starting…",
    "stop": "Stopping…",
    "pause": "Pausing…",
    "resume": "Resuming…",
    "comment": "Writing…",
}
LABELS = ("no label", "A", "B", "C", "ignore")
LONGEST = 160  # characters of a comment


class Controls(QWidget):
    """Says what the operator wants; whether it is allowed, the services have told the console."""

    start = Signal(str, str)  # the run's comment and label
    stop = Signal()
    pause = Signal(str)  # "pause" or "resume"
    comment = Signal(str)
    label = Signal(str)
    freeze = Signal(bool)
    follow = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._question: QMessageBox | None = None
        self._run: int | None = None
        self.text, self.labels = QLineEdit(), QComboBox()
        self.text.setMaxLength(LONGEST)
        self.text.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # the keys are the window's until then
        self.labels.addItems(list(LABELS))
        self.labels.setToolTip("what the data are from now on: run label A, B, C or ignore")
        self.labels.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.labels.activated.connect(self._label)
        self.start_button = self._button("Start", "start", self._start)
        self.pause_button = self._button("Pause", "pause", self._pause)
        self.stop_button = self._button("Stop", "stop", self._ask)
        self.comment_button = self._button("Comment", "", self._comment)
        self.freeze_button = self._toggle("Freeze", "freeze", self.freeze.emit)
        self.follow_button = self._toggle("Auto range", "follow", self.follow.emit)
        self.help_button = self._button("?", "help", lambda: None)
        self.follow_button.setChecked(True)
        self.text.returnPressed.connect(self.comment_button.click)
        self._set_up()

    @property
    def question(self) -> QMessageBox | None:
        """The question that waits for the operator, if there is one."""
        return self._question

    def show_console(self, console: Console, now_s: float) -> None:
        """Enable what is allowed now, and say what is under way."""
        self._run = console.run.body.run
        running = self._run is not None
        plain = (self.start_button, self.stop_button, self.comment_button)
        for verb, button in zip(("start", "stop", "comment"), plain, strict=True):
            button.setEnabled(console.may(verb, now_s))
            _say(button, PENDING[verb] if console.pending == verb else verb.capitalize())
        verb = "resume" if console.run.state == "paused" else "pause"
        pausing = console.pending in ("pause", "resume")
        self.pause_button.setEnabled(console.may(verb, now_s))
        _say(self.pause_button, PENDING[console.pending] if pausing else verb.capitalize())
        self.labels.setEnabled(not running or console.may("label", now_s))
        if running and not self.labels.view().isVisible() and console.pending != "label":
            self.labels.setCurrentText(console.core.body.label or LABELS[0])
        hint = "comment: Enter writes it into the run" if running else "comment for the next run"
        if self.text.placeholderText() != hint:
            self.text.setPlaceholderText(hint)

    def _start(self) -> None:
        label = self.labels.currentText()
        self.start.emit(self.text.text(), "" if label == LABELS[0] else label)
        self.text.clear()

    def _pause(self) -> None:
        self.pause.emit(self.pause_button.text().lower())

    def _comment(self) -> None:
        if self.text.text().strip():
            self.comment.emit(self.text.text().strip())
            self.text.clear()
        self.text.clearFocus()

    def _label(self) -> None:
        if self._run is not None and self.labels.currentText() != LABELS[0]:
            self.label.emit(self.labels.currentText())

    def _ask(self) -> None:
        """Stop only after asking: what is stopped by mistake at night is a night lost."""
        self._question = question = QMessageBox(self)
        question.setWindowTitle("Stop the run")
        question.setText(f"Stop run {self._run}?")
        question.setInformativeText("Everything recorded so far is kept.")
        stop = question.addButton("Stop the run", QMessageBox.ButtonRole.AcceptRole)
        question.addButton("Keep running", QMessageBox.ButtonRole.RejectRole)
        question.setDefaultButton(stop)
        question.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        question.finished.connect(lambda: self._answered(question.clickedButton() is stop))
        question.open()

    def _answered(self, stop: bool) -> None:
        self._question = None
        if stop:
            self.stop.emit()

    def _button(self, text: str, does: str, slot: Callable[[], None]) -> QPushButton:
        """A button with its key; it never has the keyboard, so that Space cannot press it."""
        button = QPushButton(text)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        key = next((key for key in KEYS if key.does == does), None)
        button.setToolTip(f"{key.words} ({key.key})" if key else "write it into the run (Enter)")
        button.clicked.connect(slot)
        return button

    def _toggle(self, text: str, does: str, slot: Callable[[bool], None]) -> QPushButton:
        button = self._button(text, does, lambda: slot(button.isChecked()))
        button.setCheckable(True)
        return button

    def _set_up(self) -> None:
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(SPACE_PX)
        for button in (self.start_button, self.pause_button, self.stop_button):
            line.addWidget(button)
        line.addWidget(self.text, 1)
        line.addWidget(self.comment_button)
        line.addWidget(self.labels)
        line.addSpacing(2 * SPACE_PX)
        for button in (self.freeze_button, self.follow_button, self.help_button):
            line.addWidget(button)


def _say(button: QPushButton, text: str) -> None:
    if button.text() != text:
        button.setText(text)
