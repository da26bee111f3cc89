"""All that the window knows: one place that every message goes to and every view reads from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daq.errors import WireError
from daq.wire.schemas import State
from gui.model.frames import Answer, Item, Missed, PulseFrame, TraceFrame, Trouble
from gui.model.rolling import Rolling
from gui.model.services import CoreBody, RunBody, Service

SPAN_S = 4.0
MAX_NOTES = 500
DONE = {"start": "started", "stop": "stopped"}


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence for the log, with its time; `tone` is "normal", "attention" or "alarm"."""

    t_ns: int
    tone: str
    sentence: str


class Console:
    """The state of the window; belongs to the window's thread."""

    def __init__(
        self, channels: Sequence[str], *, born_s: float, utc_ns: Callable[[], int]
    ) -> None:
        self.channels = list(channels)
        self.run = Service("run", RunBody, born_s)
        self.core = Service("core", CoreBody, born_s)
        self._services: dict[str, Service[RunBody] | Service[CoreBody]]
        self._services = {"run": self.run, "core": self.core}
        self.rolling = Rolling(SPAN_S)
        self.pulses: dict[str, PulseFrame] = {}
        self.n_missed = 0
        self.pending = ""  # the verb that waits for its answer
        self.notes: deque[Note] = deque(maxlen=MAX_NOTES)
        self.n_notes = 0
        self._utc_ns = utc_ns
        self._said: dict[str, str] = {}
        self._silent: set[str] = set()

    def apply(self, item: Item, now_s: float) -> None:
        """Take in one message."""
        match item:
            case TraceFrame():
                self._know(item.header.channels)
                self.rolling.add(item)
            case PulseFrame():
                self._know([item.header.channel])
                self.pulses[item.header.channel] = item
            case State():
                self._hear(item, now_s)
            case Missed():
                self.n_missed += item.n_messages
            case Trouble():
                self._say_once("wire", item.sentence, "attention")
            case Answer():
                self._answer(item)

    def watch(self, now_s: float) -> None:
        """Note who has fallen silent and who has come back."""
        for service in self._services.values():
            silence = service.silence(now_s)
            if silence and service.name not in self._silent:
                self._silent.add(service.name)
                self.note(silence, "attention")
            elif not silence and service.name in self._silent:
                self._silent.remove(service.name)
                self.note(f"{service.name}: speaks again", "normal")

    def may(self, verb: str, now_s: float) -> bool:
        """Whether a command can be given now: the service allows it, and none is on its way."""
        return not self.pending and self.run.is_fresh(now_s) and verb in self.run.body.verbs

    def note(self, sentence: str, tone: str) -> None:
        """Add a line to the log."""
        self.notes.append(Note(self._utc_ns(), tone, sentence))
        self.n_notes += 1

    def _know(self, channels: Sequence[str]) -> None:
        self.channels += [name for name in channels if name not in self.channels]

    def _hear(self, state: State, now_s: float) -> None:
        service = self._services.get(state.service)
        if service is None:
            return  # another service's state: nothing of it is shown here
        before = service.boot
        try:
            service.hear(state, now_s)
        except WireError as error:
            self._say_once("wire", str(error), "attention")
            return
        if service is self.core and before not in ("", state.boot):
            self.rolling.clear()  # its samples and ours have nothing in common any more
        self._say_once(service.name, service.body.problem, "alarm")

    def _answer(self, answer: Answer) -> None:
        self.pending = ""
        if answer.refusal:
            self.note(f"{answer.verb}: {answer.refusal}", "alarm")
        else:
            self.note(f"run {DONE.get(answer.verb, answer.verb)}", "normal")

    def _say_once(self, topic: str, sentence: str, tone: str) -> None:
        """Note what is new; the same sentence again is no news."""
        if sentence and self._said.get(topic) != sentence:
            self.note(sentence if topic == "wire" else f"{topic}: {sentence}", tone)
        self._said[topic] = sentence
