"""All that the window knows: one place that every message goes to and every view reads from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from daq.errors import WireError
from daq.wire.schemas import Progress, State
from gui.model.alarms import AlarmWatch
from gui.model.cryostat import heaters, pressures, stages
from gui.model.forms import Forms
from gui.model.frames import (
    Answer,
    Examined,
    Item,
    Missed,
    PulseFrame,
    Stream,
    TraceFrame,
    Trouble,
    TuneLine,
)
from gui.model.history import History
from gui.model.noise import Density, of_stream
from gui.model.records import RecordBook
from gui.model.rolling import Rolling
from gui.model.scales import Scales
from gui.model.services import AnyBody, CoreBody, InstrumentsBody, RunBody, Service
from gui.model.spectra import SpectraBook
from gui.model.tuning import TuningBook

SPAN_S = 4.0
MAX_NOTES = 2000
DONE = {
    "start": "run started",
    "stop": "run stopped",
    "pause": "run paused",
    "resume": "run resumed",
    "comment": "comment written",
    "label": "label set",
}
RATE = "channels.{}.rate_hz"  # as run control names it
PAST_AT_ONCE = 24  # quantities: as many as run control answers in one message
OHMS = {"ohm": 1.0, "kohm": 1e3, "Mohm": 1e6}
AnyService = Service[RunBody] | Service[CoreBody] | Service[InstrumentsBody] | Service[AnyBody]


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence for the log, with its time; `tone` is "normal", "attention" or "alarm"."""

    t_ns: int
    tone: str
    sentence: str
    topic: str = ""  # the service it is of; "" for what happened here


@dataclass(frozen=True, slots=True)
class About:
    """What the config says that a window needs: services, and what channels hang on."""

    others: tuple[str, ...] = ()  # services besides run control, core and instruments
    squids: Mapping[str, str] = field(default_factory=dict)  # channel -> "instrument:number"
    operator: str = ""


class Console:
    """The state of the window; belongs to the window's thread."""

    def __init__(
        self,
        channels: Sequence[str],
        *,
        born_s: float,
        utc_ns: Callable[[], int],
        about: About | None = None,
        scales: Scales | None = None,
    ) -> None:
        self.channels = list(channels)
        self.about, self.scales = about or About(), scales or Scales()
        self.run = Service("run", RunBody, born_s)
        self.core = Service("core", CoreBody, born_s)
        self.instruments = Service("instruments", InstrumentsBody, born_s)
        self._services: dict[str, AnyService] = {"run": self.run, "core": self.core}
        self._services["instruments"] = self.instruments
        self._services |= {name: Service(name, AnyBody, born_s) for name in self.about.others}
        self.watched = ["run", "core", *self.about.others]  # whose silence is told
        self.rolling, self.records = Rolling(SPAN_S), RecordBook()
        self.spectra, self.history, self.forms = SpectraBook(), History(), Forms()
        self.streams: dict[str, Density] = {}  # noise as measured from the stream
        self.pulses: dict[str, PulseFrame] = {}
        self.diagnosis: Examined | None = None
        self.alarms, self.tunings = AlarmWatch(), TuningBook()
        self.tuning, self.tune_said = "", ""  # the channel that is tuned now; the last line of it
        self.n_missed = 0
        self.pending = ""  # the verb that waits for its answer
        self.notes: deque[Note] = deque(maxlen=MAX_NOTES)
        self.n_notes = 0
        self._utc_ns = utc_ns
        self._past_boot, self._past_asked = "", set[str]()
        self._said: dict[str, str] = {}
        self._silent: set[str] = set()

    @property
    def services(self) -> Mapping[str, AnyService]:
        """All services by name."""
        return self._services

    @property
    def utc_ns(self) -> int:
        """Now."""
        return self._utc_ns()

    def apply(self, item: Item, now_s: float) -> None:
        """Take in one message."""
        match item:
            case TraceFrame():
                self._know(item.header.channels)
                self.rolling.add(item)
            case PulseFrame():
                self._know([item.header.channel])
                self.pulses[item.header.channel] = item
                self.records.add(item)
                self.scales.volts_per_count[item.header.channel] = item.header.volts_per_count
            case State():
                self._hear(item, now_s)
            case Progress():
                self.tunings.take(item)
            case Missed():
                self.n_missed += item.n_messages
            case Trouble():
                self._say_once("wire", item.sentence, "attention")
            case Answer():
                self._answer(item, now_s)
            case Stream():
                self.streams[item.channel] = of_stream(item.volts, item.rate_hz)
            case Examined():
                self.diagnosis = item
            case TuneLine():
                self._hear_tune(item)

    def excuse(self, stalled_s: float) -> None:
        """It was we who did not listen for so long."""
        for service in self._services.values():
            service.excuse(stalled_s)

    def watch(self, now_s: float) -> None:
        """Note who has fallen silent and who has come back."""
        if self.instruments.state and "instruments" not in self.watched:
            self.watched.append("instruments")
        for service in (self._services[name] for name in self.watched):
            silence = service.silence(now_s)
            if silence and service.name not in self._silent:
                self._silent.add(service.name)
                self.note(silence, "attention", service.name)
            elif not silence and service.name in self._silent:
                self._silent.remove(service.name)
                self.note(f"{service.name}: speaks again", "normal", service.name)

    def may(self, verb: str, now_s: float) -> bool:
        """Whether a command can be given now: the service allows it, and none is on its way."""
        return not self.pending and self.run.is_fresh(now_s) and verb in self.run.body.verbs

    def past_to_ask(self, now_s: float) -> list[str]:
        """Quantities whose past is still to be asked of run control, a few at a time.

        Once for each start of run control, which knows nothing of before it.
        """
        if self._past_boot != self.run.boot:
            self._past_boot, self._past_asked = self.run.boot, set()
        if not self.run.is_fresh(now_s) or not self.instruments.is_fresh(now_s):
            return []
        readings = self.instruments.body.readings
        drawn = [*(s.reading for s in stages(readings)), *pressures(readings), *heaters(readings)]
        names = [*(RATE.format(name) for name in self.channels), *drawn]
        left = [name for name in names if name not in self._past_asked][:PAST_AT_ONCE]
        self._past_asked |= set(left)
        return left

    def _take_past(self, series: Mapping[str, list[list[float]]]) -> None:
        rates = {RATE.format(name): f"rate {name}" for name in self.channels}
        for name, rows in series.items():
            self.history.put_before(rates.get(name, name), rows)

    def note(self, sentence: str, tone: str, topic: str = "") -> None:
        """Add a line to the log."""
        self.notes.append(Note(self._utc_ns(), tone, sentence, topic))
        self.n_notes += 1

    def squid_of(self, channel: str) -> str:
        """The prefix of the readings of a channel's SQUID electronics; "" where it is not known."""
        instrument, _, n = self.about.squids.get(channel, "").partition(":")
        parts = (part for part in self.forms.parts(instrument) if part.endswith(f" {n}"))
        part = next(parts, f"squid {n}")
        return f"{instrument}.{part}" if n else ""

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
        self._remember(state)
        self._say_once(service.name, service.body.problem, "alarm")

    def _remember(self, state: State) -> None:
        """What is drawn against time."""
        t_s = state.t_ns / 1e9
        if state.service == "core":
            for name, counts in self.core.body.channels.items():
                self.history.add(f"rate {name}", t_s, counts.rate_hz)
        elif state.service == "instruments":
            self._remember_readings()
        elif state.service == "run":
            for tone, sentence in self.alarms.news(self.run.body.alarms):
                self.note(sentence, tone, "alarm")

    def _remember_readings(self) -> None:
        for name, item in self.instruments.body.readings.items():
            if isinstance(item.value, int | float) and not isinstance(item.value, bool):
                self.history.add(name, item.t_ns / 1e9, float(item.value))
        for channel in self.about.squids:
            ohm = self.instruments.body.readings.get(f"{self.squid_of(channel)}.feedback")
            if ohm is not None and isinstance(ohm.value, int | float) and ohm.unit in OHMS:
                self.scales.feedback_ohm[channel] = float(ohm.value) * OHMS[ohm.unit]

    def _answer(self, answer: Answer, now_s: float) -> None:
        if answer.service == "run" and answer.verb == self.pending:
            self.pending = ""
        if answer.service == "tune":
            self.tuning = ""
            self.tune_said = f"■ {answer.refusal}" if answer.refusal else f"✓ {answer.tag} done"
        if answer.tag.startswith("write "):
            self.forms.end(answer.tag.removeprefix("write "), answer.refusal, answer.result)
        if answer.refusal:
            self._refused(answer)
        elif answer.verb == "list":
            self.forms.take(answer.result.get("instruments", {}))
        elif answer.verb == "history":
            self._take_past(answer.result.get("series", {}))
        elif answer.verb == "spectra":
            self.spectra.take(answer.result.get("spectra", {}), now_s)
        else:
            self.note(DONE.get(answer.verb, f"{answer.service}: {answer.verb} done"), "normal")

    def begin_tune(self, what: str) -> None:
        """A tuning was asked for."""
        self.tuning, self.tune_said = what, "begins"

    def _hear_tune(self, line: TuneLine) -> None:
        if line.text:
            self.tuning, self.tune_said = line.what, line.text
            self.note(f"tune: {line.text}", "normal", "tune")

    def _refused(self, answer: Answer) -> None:
        """A question of our own that nobody answered is no alarm: its service's silence is."""
        if answer.verb not in ("list", "spectra", "history"):
            self.note(f"{answer.verb}: {answer.refusal}", "alarm")

    def _say_once(self, topic: str, sentence: str, tone: str) -> None:
        """Note what is new; the same sentence again is no news."""
        if sentence and self._said.get(topic) != sentence:
            self.note(sentence if topic == "wire" else f"{topic}: {sentence}", tone, topic)
        self._said[topic] = sentence
