"""Forms of the instruments: what is set beside what holds, and what became of what was sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from gui.model.console import Console
from gui.model.forms import WORDS, Line, Progress, pretty, shown_reading, shown_value
from gui.windows.plotting import elastic, narrow
from gui.windows.strip import put

TONES = {"idle": "stale", "pending": "attention", "done": "normal", "refused": "alarm"}
WARMS = ("bias", "heater", "setpoint", "output", "current", "power", "mode")


@dataclass(slots=True)
class Field:
    """The widgets of one line."""

    line: Line
    editor: QLineEdit | QComboBox | None
    held: QLabel
    said: QLabel
    send: QPushButton | None
    touched: bool = False  # by the operator: then it no longer follows what holds

    def touch(self) -> None:
        """The operator has chosen."""
        self.touched = True

    def follow(self, held: str) -> None:
        """An untouched choice stands at what holds, so that nothing is set by mistake."""
        if isinstance(self.editor, QComboBox) and not self.touched:
            self.editor.setCurrentText(held)

    @property
    def text(self) -> str:
        """What the operator wants."""
        editor = self.editor
        if isinstance(editor, QComboBox):
            return editor.currentText()
        return editor.text() if editor is not None else ""


class FormsPanel(QFrame):
    """One instrument, or one channel of it; `write` and `act` say what the operator wants."""

    write = Signal(str, str, object, str)  # instrument, parameter, value, the reading's name
    act = Signal(str, str)  # instrument, action
    tune = Signal()
    undo = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.instrument, self.part = QComboBox(), QComboBox()
        self.hint = QLabel()
        self.hint.setProperty("tone", "stale")
        self.fields: dict[str, Field] = {}
        self.deeds: dict[str, QPushButton] = {}
        self.question: QMessageBox | None = None
        self._console: Console | None = None
        self._shown: tuple[str, str] = ("", "")
        self._scroll = QScrollArea()
        self._action_line = QHBoxLayout()
        self.tune_button, self.undo_button = QPushButton("Tune"), QPushButton("Undo tune")
        self.tune_said = QLabel()
        self._set_up()

    def show_tuning(self, console: Console, channel: str) -> None:
        """How far a tuning has come; only one at a time."""
        self.tune_button.setText(f"Tune {channel}")
        for button in (self.tune_button, self.undo_button):
            button.setEnabled(not console.tuning)
        prefix = f"◌ {console.tuning}: " if console.tuning else ""
        others = "" if console.tuning else console.tunings.under_way(channel, console.utc_ns)
        tone = "alarm" if console.tune_said.startswith("■") else "normal"
        said = f"◌ {channel}: {others}" if others else f"{prefix}{console.tune_said}"
        put(self.tune_said, said, "normal" if others else tone)
        self.tune_said.setToolTip(console.tune_said)

    def show_console(self, console: Console, now_s: float) -> None:
        """Fill in what holds; build the form anew where there is another instrument."""
        self._console = console
        names = list(console.forms.instruments)
        if [self.instrument.itemText(i) for i in range(self.instrument.count())] != names:
            self._replace(self.instrument, names)
            self._choose_part()
        fresh = console.instruments.is_fresh(now_s)
        put(self.hint, _hint(console, self.instrument.currentText(), fresh), "stale")
        for name, field in self.fields.items():
            text, tone, source = shown_reading(console.instruments.body.readings.get(name))
            put(field.held, text, tone if fresh else "stale")
            field.held.setToolTip(source)
            item = console.instruments.body.readings.get(name)
            field.follow(shown_value(item.value if item else None))
            self._show_progress(field, console.forms.progress.get(name, Progress()))
            if field.send is not None:
                field.send.setEnabled(fresh)

    def go_to(self, instrument: str, part: str) -> None:
        """Show an instrument's channel."""
        if self.instrument.findText(instrument) >= 0:
            self.instrument.setCurrentText(instrument)
            self._choose_part()
            if self.part.findText(part or "itself") >= 0:
                self.part.setCurrentText(part or "itself")
            self._build()

    def send(self, name: str) -> None:
        """Send a line's value, or say why it cannot be sent; what may warm is asked about."""
        field, console = self.fields[name], self._console
        if console is None:
            return
        value, problem = field.line.parse(field.text)
        if problem or value is None:
            self._refuse(field, f"expected {problem}" if problem else "nothing to send")
            return
        whole, problem = console.forms.composed(
            field.line, value, console.instruments.body.readings
        )
        if problem:
            self._refuse(field, problem)
        elif any(word in name.lower() for word in WARMS):
            self._ask(field, whole)
        else:
            self._write(field, whole)

    # Any: a value, or a table of fields
    def _ask(self, field: Field, whole: Any) -> None:
        what = f"Set {field.line.reading} to {field.text} {pretty(field.line.kind.unit)}".strip()
        why = "This can warm the detectors, unlock them or change how they work."
        self._confirm(f"{what}?", why, lambda: self._write(field, whole))

    def _confirm(self, what: str, why: str, act: Callable[[], object]) -> None:
        self.question = question = QMessageBox(self)
        question.setWindowTitle("Scheelite")
        question.setText(what)
        question.setInformativeText(why)
        yes = question.addButton("Do it", QMessageBox.ButtonRole.AcceptRole)
        question.addButton("Leave it", QMessageBox.ButtonRole.RejectRole)
        question.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

        def answered() -> None:
            self.question = None
            if question.clickedButton() is yes:
                act()

        question.finished.connect(answered)
        question.open()

    def _write(self, field: Field, whole: Any) -> None:
        line = field.line
        if self._console is not None:
            self._console.forms.begin(line.reading)
            self._show_progress(field, self._console.forms.progress[line.reading])
        self.write.emit(line.instrument, line.parameter, whole, line.reading)

    def _refuse(self, field: Field, why: str) -> None:
        if self._console is not None:
            self._console.forms.end(field.line.reading, f"not sent: {why}", {})
            self._show_progress(field, self._console.forms.progress[field.line.reading])

    def _show_progress(self, field: Field, progress: Progress) -> None:
        text = f"{WORDS[progress.stage]} {progress.said}".strip()
        put(field.said, text, TONES[progress.stage])
        field.said.setToolTip(progress.said)

    # --- building ---

    def _choose_part(self) -> None:
        if self._console is not None:
            parts = self._console.forms.parts(self.instrument.currentText())
            self._replace(self.part, [part or "itself" for part in parts])
            self._build()

    def _build(self) -> None:
        console, instrument = self._console, self.instrument.currentText()
        part = self.part.currentText().replace("itself", "")
        if console is None or (instrument, part) == self._shown:
            return
        self._shown = (instrument, part)
        self.fields.clear()
        page = QWidget()
        page.setObjectName("sheet")
        grid = QGridLayout(page)
        grid.setContentsMargins(4, 4, 4, 4)
        grid.setColumnStretch(4, 1)
        for column, title in enumerate(("parameter", "holds", "set to", "", "")):
            head = QLabel(title)
            head.setProperty("tone", "stale")
            grid.addWidget(head, 0, column)
        lines = [line for line in console.forms.lines(instrument) if _belongs(line, part)]
        for row, line in enumerate(lines, 1):
            self._add(grid, row, line)
        grid.setRowStretch(len(lines) + 1, 1)
        self._scroll.setWidget(page)
        self._build_actions(console, instrument, part)

    def _add(self, grid: QGridLayout, row: int, line: Line) -> None:
        name = QLabel(_short(line))
        name.setToolTip(f"{line.title}\n{line.range}\n{line.reading}")
        field = Field(line, None, QLabel(), elastic(QLabel()), None)
        if line.writable:
            field.editor = _editor(line)
            field.send = QPushButton("Set")
            field.send.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            field.send.setToolTip(line.range)
            field.send.clicked.connect(lambda: self.send(line.reading))
            if isinstance(field.editor, QComboBox):
                field.editor.activated.connect(field.touch)
            else:
                field.editor.returnPressed.connect(lambda: self.send(line.reading))
        for column, widget in enumerate((name, field.held, field.editor, field.send, field.said)):
            if widget is not None:
                grid.addWidget(widget, row, column)
        self.fields[line.reading] = field

    def _build_actions(self, console: Console, instrument: str, part: str) -> None:
        for button in self.deeds.values():
            button.deleteLater()
        self.deeds.clear()
        for action in console.forms.actions(instrument, part):
            button = QPushButton(action.name.rpartition(".")[2].replace("_", " "))
            button.setToolTip(action.title)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(
                lambda _=False, name=action.name: self.act.emit(instrument, name)
            )
            self._action_line.addWidget(button)
            self.deeds[action.name] = button

    def _replace(self, box: QComboBox, names: list[str]) -> None:
        kept = box.currentText()
        box.blockSignals(True)
        box.clear()
        box.addItems(names)
        if kept in names:
            box.setCurrentText(kept)
        box.blockSignals(False)

    def _set_up(self) -> None:
        line = QHBoxLayout()
        for title, box in (("instrument", self.instrument), ("channel", self.part)):
            label = QLabel(title)
            label.setProperty("tone", "stale")
            line.addWidget(label)
            line.addWidget(narrow(box, 10))
        line.addLayout(self._action_line)
        line.addWidget(elastic(self.hint), 1)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.instrument.currentTextChanged.connect(lambda _: self._choose_part())
        self.part.currentTextChanged.connect(lambda _: self._build())
        self._scroll.setWidgetResizable(True)
        page = QVBoxLayout(self)
        page.setContentsMargins(8, 6, 8, 6)
        page.addLayout(line)
        page.addWidget(self._scroll, 1)
        page.addLayout(self._tune_line())

    def _tune_line(self) -> QHBoxLayout:
        line = QHBoxLayout()
        tips = ("from a cold SQUID to the working point, with proof: scheelite tune",
                "what was held before the latest tuning: scheelite tune undo")  # fmt: skip
        pairs = ((self.tune_button, self.tune), (self.undo_button, self.undo))
        for (button, asked), tip in zip(pairs, tips, strict=True):
            button.setToolTip(tip)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(lambda _=False, b=button, a=asked: self._ask_tune(b, a))
            line.addWidget(button)
        line.addWidget(elastic(self.tune_said), 1)
        return line

    def _ask_tune(self, button: QPushButton, asked: Any) -> None:  # Any: a bound signal
        why = "The SQUID and the TES bias are set anew; what does not pass is left as it was."
        self._confirm(f"{button.text()}?", why, asked.emit)


def _belongs(line: Line, part: str) -> bool:
    return line.parameter.rpartition(".")[0] == part


def _short(line: Line) -> str:
    name = line.parameter.rpartition(".")[2]
    return (f"{name} · {line.part}" if line.part else name).replace("_", " ")


def _editor(line: Line) -> QLineEdit | QComboBox:
    choices = ("off", "on") if line.kind.kind == "switch" else line.kind.choices
    if choices and line.kind.kind != "number":
        box = QComboBox()
        box.addItems(list(choices))
        return narrow(box, 14)
    editor = QLineEdit()
    editor.setPlaceholderText(line.range)
    editor.setFixedWidth(150)
    editor.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    return editor


def _hint(console: Console, instrument: str, fresh: bool) -> str:
    if not console.forms.instruments:
        return "no instruments yet: is the instruments service up?"
    if not fresh:
        return "instruments: no news, so nothing can be sent"
    health = console.instruments.body.instruments.get(instrument)
    described = console.forms.instruments.get(instrument)
    model = described.model if described else ""
    return f"{model}: {health.problem or health.state}" if health else model
