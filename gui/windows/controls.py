"""The buttons and their keys: start and stop the run, hold the plots, let their ranges follow."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QMessageBox, QPushButton, QWidget

from gui.model.console import Console
from gui.palette import SPACE_PX

PENDING = {"start": "Starting…", "stop": "Stopping…"}


class Controls(QWidget):
    """Says what the operator wants; whether it is allowed, the services have told the console."""

    start = Signal(str)  # the run's comment
    stop = Signal()
    freeze = Signal(bool)
    follow = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._question: QMessageBox | None = None
        self._run: int | None = None
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("comment for the next run")
        self.comment.setMaxLength(2000)
        self.start_button = self._button("Start", "Ctrl+R", self._start)
        self.stop_button = self._button("Stop", "Ctrl+.", self._ask)
        self.freeze_button = self._toggle("Freeze", "Space", self.freeze.emit)
        self.follow_button = self._toggle("Auto range", "A", self.follow.emit)
        self.follow_button.setChecked(True)
        self._set_up()

    @property
    def question(self) -> QMessageBox | None:
        """The question that waits for the operator, if there is one."""
        return self._question

    def show_console(self, console: Console, now_s: float) -> None:
        """Enable what is allowed now, and say what is under way."""
        self._run = console.run.body.run
        for verb, button in (("start", self.start_button), ("stop", self.stop_button)):
            button.setEnabled(console.may(verb, now_s))
            button.setText(PENDING[verb] if console.pending == verb else verb.capitalize())

    def _start(self) -> None:
        self.start.emit(self.comment.text())

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

    def _button(self, text: str, key: str, slot: Callable[[], None]) -> QPushButton:
        """A button with its key; it never has the keyboard, so that Space cannot press it."""
        button = QPushButton(text)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.setToolTip(f"{text} ({key})")
        button.clicked.connect(slot)
        QShortcut(QKeySequence(key), self, button.click)
        return button

    def _toggle(self, text: str, key: str, slot: Callable[[bool], None]) -> QPushButton:
        button = self._button(text, key, lambda: slot(button.isChecked()))
        button.setCheckable(True)
        return button

    def _set_up(self) -> None:
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(SPACE_PX)
        line.addWidget(self.start_button)
        line.addWidget(self.stop_button)
        line.addWidget(self.comment, 1)
        line.addSpacing(2 * SPACE_PX)
        line.addWidget(self.freeze_button)
        line.addWidget(self.follow_button)
