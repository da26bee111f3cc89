"""The steps of a night as generators: each asks for looks and deeds, and does nothing itself.

A step is given its `memory`, which is kept on the disk: started again with it after a crash, it
goes on where it was. Times are those of the night's clock, UTC [ns]; those of a run are samples'.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from daq.errors import ScheeliteError
from daq.run.quantities import Quantity
from daq.services.marks import Label
from daq.settings.nightplan import (
    HeaterStep,
    IvStep,
    NoiseStep,
    RunStep,
    StopIf,
    TuneStep,
    Wait,
    WriteStep,
)
from daq.settings.watch import Condition, Order

NS = 10**9
PATIENCE_S = 300.0  # by the real clock, for services that are being started again
AGAIN_S = 2.0  # by the real clock, between two tries to begin a run
MOST_AGAIN = 20  # runs of one step
SLACK_S = 1.0  # a run that ended so near its duration has had it
OVER = "s are over"  # how the core says that a run has had its duration
ALARM = "alarm "  # how an alarm that ended a run says so


@dataclass(frozen=True, slots=True)
class Facts:
    """What a step sees at a look; `last_reason` is why the last run ended."""

    t_ns: int
    quantities: Mapping[str, Quantity]
    state: str
    run: int | None
    last_run: int | None = None
    last_reason: str = ""
    targets: tuple[str, ...] = ()
    hurry: str = ""  # why every step must come to its end now
    speed: float = 1.0  # of the night's clock; services are started again by the real one

    def later(self, began_ns: int, real_s: float) -> bool:
        """Whether so much real time has passed."""
        return self.t_ns - began_ns > real_s * self.speed * NS

    def value(self, name: str) -> float | None:
        """A quantity that is known and fresh."""
        found = self.quantities.get(name)
        return None if found is None or found.stale else found.value


@dataclass(frozen=True, slots=True)
class Look:
    """The next facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Begin a run; its number."""

    comment: str
    label: Label
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """End the run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Write:
    """Have an instrument hold a value."""

    order: Order


@dataclass(frozen=True, slots=True)
class Randomly:
    """Let these channels trigger at random alone, in the run that is recorded."""

    channels: tuple[str, ...]
    rate_hz: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune:
    """Tune these channels, all where none is named; `again` where that was begun before a crash."""

    channels: tuple[str, ...]
    timeout_s: float
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureIv:
    """Measure IV curves of these channels, of all where none is named."""

    channels: tuple[str, ...]
    timeout_s: float


Ask = Look | Start | Stop | Write | Randomly | Tune | MeasureIv
Memory = dict[str, Any]  # Any: each step keeps its own few JSON values


class StepError(ScheeliteError):
    """A step that could not be done; the night goes on with its [[last]]."""


@dataclass(slots=True)
class Answer:
    """What became of an ask: the facts, or what a deed gave or has to say."""

    facts: Facts | None = None
    run: int | None = None
    said: str = ""
    error: ScheeliteError | None = None


Step = Generator[Ask, Answer, str]  # what it returns is the sentence of what became of it


def step_of(step: object, name: str, memory: Memory) -> Step:
    """The generator of a plan's step; `name` goes into the runs' comments."""
    match step:
        case TuneStep():
            return tune(step, memory)
        case IvStep():
            return measure_iv(step)
        case Wait():
            return wait(step, memory)
        case WriteStep():
            return write(step)
        case RunStep():
            return run(step, name, memory)
        case NoiseStep():
            return noise(step, name, memory)
        case HeaterStep():
            return heater(step, name, memory)
    raise StepError(f"expected a step, found {step!r}")


def said(step: object) -> str:
    """A step in words."""
    match step:
        case TuneStep():
            return f"tune {', '.join(step.channels) or 'all channels'}"
        case IvStep():
            return f"IV curves of {', '.join(step.channels) or 'all channels'}"
        case Wait():
            return f"wait until {_limits(step)} for {step.stable_s:g} s"
        case WriteStep():
            return f"write {step.instrument}.{step.parameter} = {step.value}"
        case RunStep():
            return f"run {step.label}: {', '.join(_rules(step))}"
        case NoiseStep():
            return f"noise run of {step.duration_s:g} s at {step.rate_hz:g}/s"
        case HeaterStep():
            return f"heater run, {len(step.heights)} heights of {step.each_s:g} s"
    raise StepError(f"expected a step, found {step!r}")


def expected_s(step: object) -> tuple[float, float | None]:
    """Shortest and longest time of a step [s]; None where only the data can tell."""
    match step:
        case TuneStep() | IvStep():
            return 0.0, step.timeout_s
        case Wait():
            return step.stable_s, step.timeout_s
        case RunStep():
            return (0.0, None) if step.duration_s is None else (step.duration_s, step.duration_s)
        case NoiseStep():
            return step.duration_s, step.duration_s
        case HeaterStep():
            return (length := step.each_s * len(step.heights)), length
    return 0.0, 0.0


# --- the steps --------------------------------------------------------------------------------


def wait(step: Wait, memory: Memory) -> Step:
    """Until the quantity has been within its limits for the time; what was missed in between
    does not count as stable."""
    since_ns: int | None = None
    while True:
        facts = yield from look()
        began_ns = memory.setdefault("began_ns", facts.t_ns)
        inside = within(step, facts)
        since_ns = (facts.t_ns if since_ns is None else since_ns) if inside else None
        if since_ns is not None and facts.t_ns - since_ns >= step.stable_s * NS:
            return f"after {(facts.t_ns - began_ns) / NS:.0f} s"
        if facts.hurry:
            return f"cut short: {facts.hurry}"
        if facts.t_ns - began_ns >= step.timeout_s * NS:
            if step.otherwise == "end":
                raise StepError(f"{step.watch} was not {_limits(step)} in {step.timeout_s:g} s")
            return "not reached in time: it goes on"


def tune(step: TuneStep, memory: Memory) -> Step:
    """Until all have passed; a tuning that a crash ended goes on where its journal ends."""
    yield from look()
    again = "tuning" in memory
    memory["tuning"] = True
    answer = yield Tune(channels=tuple(step.channels), timeout_s=step.timeout_s, again=again)
    return "passed" if answer.error is None else _otherwise(step, answer.error)


def measure_iv(step: IvStep) -> Step:
    """Until all curves are there; what a crash ended was put back, and begins anew."""
    yield from look()
    answer = yield MeasureIv(channels=tuple(step.channels), timeout_s=step.timeout_s)
    return answer.said if answer.error is None else _otherwise(step, answer.error)


def write(order: Order) -> Step:
    """Until the instrument holds it, or for as long as it may be away."""
    yield from insist(Write(order))
    return "done"


def run(step: RunStep, name: str, memory: Memory) -> Step:
    """A run until one of its rules is met; where services died it is taken up by another run."""
    beyond: dict[int, int] = {}  # rule -> since when its quantity is beyond its limit

    def due(facts: Facts) -> str:
        return _met(step, facts) or _beyond(step.stop_if, facts, beyond)

    comment = step.comment or name
    yield from _record(comment, step.label, step.duration_s, memory, due)
    return _runs(memory)


def noise(step: NoiseStep, name: str, memory: Memory) -> Step:
    """A run whose channels trigger at random alone."""
    facts = yield from look()
    channels = tuple(step.channels) or facts.targets
    first: Ask = Randomly(channels, step.rate_hz)
    comment = step.comment or f"{name}: noise"
    yield from _record(comment, step.label, step.duration_s, memory, lambda _: "", first)
    return _runs(memory)


def heater(step: HeaterStep, name: str, memory: Memory) -> Step:
    """A run in which the generator's pulses have one height after the other."""
    for order in step.before:
        yield from insist(Write(order))
    try:
        yield from _heights(step, name, memory)
    except StepError:
        yield from _orders(step.after)
        raise
    yield from _orders(step.after)
    return _runs(memory)


def _heights(step: HeaterStep, name: str, memory: Memory) -> Generator[Ask, Answer, None]:
    at = -1  # which height is written; after a crash nobody knows
    if "run" not in memory:
        yield from insist(Write(step.order(step.heights[0])))
        at = 0
    length_s = step.each_s * len(step.heights)
    yield from _begun(step.comment or f"{name}: heater", step.label, length_s, memory)
    while (facts := (yield from look())).run == memory["run"]:
        elapsed_s = facts.value("run.elapsed_s") or 0.0
        now = min(int(elapsed_s / step.each_s), len(step.heights) - 1)
        if now != at:
            at = now
            yield from insist(Write(step.order(step.heights[at])))
        if facts.hurry and "stopped" not in memory:
            memory["stopped"] = facts.hurry
            yield from insist(Stop(facts.hurry))
    _note(memory, facts)


def _orders(orders: list[Order]) -> Generator[Ask, Answer, None]:
    for order in orders:
        yield from insist(Write(order))


# --- what steps are made of -------------------------------------------------------------------


def look() -> Generator[Ask, Answer, Facts]:
    """The next facts."""
    answer = yield Look()
    assert answer.facts is not None
    return answer.facts


def insist(ask: Ask) -> Generator[Ask, Answer, Answer]:
    """Have a deed done, again while whoever must do it may be on its way back; StepError."""
    began_ns = (yield from look()).t_ns
    while True:
        answer = yield ask
        if answer.error is None:
            return answer
        facts = yield from look()
        if not answer.error.retryable or facts.later(began_ns, PATIENCE_S):
            raise StepError(str(answer.error)) from answer.error


def within(condition: Condition, facts: Facts) -> bool:
    """Whether a quantity is known, fresh and within its limits."""
    value = facts.value(condition.watch)
    if value is None:
        return False
    too_high = condition.below is not None and value >= condition.below
    return not too_high and (condition.above is None or value > condition.above)


def _record(
    comment: str,
    label: Label,
    duration_s: float | None,
    memory: Memory,
    due: Callable[[Facts], str],
    first: Ask | None = None,
) -> Generator[Ask, Answer, None]:
    """Record until it is over: another run follows one that ended for no reason of ours."""
    while True:
        rest_s = None if duration_s is None else duration_s - memory.get("recorded_s", 0.0)
        fresh = "run" not in memory
        yield from _begun(comment, label, rest_s, memory)
        if first is not None and fresh:
            yield from insist(first)
        facts = yield from _until_over(memory, due)
        _note(memory, facts)
        recorded_s = memory.get("recorded_s", 0.0)
        had = duration_s is not None and recorded_s >= duration_s - SLACK_S
        if had or "stopped" in memory or _was_asked(facts, memory):
            return
        if len(memory["runs"]) >= MOST_AGAIN:
            raise StepError(f"run {memory['runs'][-1]} ended as well: {facts.last_reason}")
        del memory["run"]


def _begun(
    comment: str, label: Label, duration_s: float | None, memory: Memory
) -> Generator[Ask, Answer, None]:
    """A run of ours is being recorded: the one that memory names, one found, or a new one."""
    if "run" in memory:
        return
    facts = yield from look()
    while facts.state not in ("idle", "failed") and "beginning" not in memory:
        facts = yield from look()  # the run before is not yet complete
    if "beginning" in memory and facts.run is not None:
        memory["run"] = facts.run  # we were stopped between asking for it and hearing of it
    else:
        memory["beginning"] = True
        asked = Start(comment=comment, label=label, duration_s=duration_s)
        memory["run"] = yield from _started(asked)
    del memory["beginning"]
    memory.setdefault("runs", []).append(memory["run"])
    memory["elapsed_s"] = 0.0
    facts = yield from look()
    while facts.run == memory["run"] and facts.value("run.recording") == 0.0:
        facts = yield from look()  # the core's news are older than the run


def _started(asked: Start) -> Generator[Ask, Answer, int]:
    """The number of a run; one that began although its answer was late is that run, too."""
    began_ns = (yield from look()).t_ns
    while True:
        answer = yield asked
        if answer.error is None and answer.run is not None:
            return answer.run
        facts = yield from look()
        tried_ns = facts.t_ns
        while facts.run is None and not facts.later(tried_ns, AGAIN_S):
            facts = yield from look()
        if facts.run is not None:
            return facts.run
        if facts.later(began_ns, PATIENCE_S):
            raise StepError(str(answer.error)) from answer.error


def _until_over(memory: Memory, due: Callable[[Facts], str]) -> Generator[Ask, Answer, Facts]:
    while True:
        facts = yield from look()
        if facts.run != memory["run"]:
            return facts
        memory["elapsed_s"] = facts.value("run.elapsed_s") or memory["elapsed_s"]
        reason = facts.hurry or due(facts)
        if reason and "stopped" not in memory:
            memory["stopped"] = reason
            yield from insist(Stop(reason))


def _note(memory: Memory, facts: Facts) -> None:
    """A run is over."""
    memory["recorded_s"] = memory.get("recorded_s", 0.0) + memory.pop("elapsed_s", 0.0)
    if facts.last_run == memory["run"]:
        memory["reason"] = facts.last_reason
    if facts.last_reason.startswith(ALARM) and facts.last_run == memory["run"]:
        raise StepError(facts.last_reason)


def _was_asked(facts: Facts, memory: Memory) -> bool:
    """Whether the run ended by its duration or because somebody wanted it."""
    reason = facts.last_reason if facts.last_run == memory["run"] else ""
    return reason.endswith(OVER) or "operator" in reason


def _otherwise(step: TuneStep | IvStep, error: ScheeliteError) -> str:
    """What becomes of a step whose program failed."""
    if step.otherwise == "end":
        raise StepError(str(error)) from error
    return f"it goes on: {error}"


def _met(step: RunStep, facts: Facts) -> str:
    """Which rule of the data is met; "" for none."""
    live = [facts.value(f"channels.{name}.livetime_s") for name in facts.targets]
    so_far = {
        "livetime_s": min((s for s in live if s is not None), default=0.0),
        "records": facts.value("run.records") or 0,
        "exposure_g_d": facts.value("run.exposure_g_d") or 0.0,
        "n_bytes": facts.value("run.n_bytes") or 0,
    }
    for rule, found in so_far.items():
        wanted = getattr(step, rule)
        if wanted is not None and found >= wanted:
            return f"{rule} of {wanted:g} is reached"
    return ""


def _beyond(rules: list[StopIf], facts: Facts, since: dict[int, int]) -> str:
    for i, rule in enumerate(rules):
        value = facts.value(rule.watch)
        if value is None:
            continue
        above = rule.above is not None and value > rule.above
        if not above and not (rule.below is not None and value < rule.below):
            since.pop(i, None)
        elif facts.t_ns - since.setdefault(i, facts.t_ns) >= rule.for_s * NS:
            return f"{rule.watch} is {value:.4g}"
    return ""


def _runs(memory: Memory) -> str:
    runs = ", ".join(map(str, memory.get("runs", [])))
    return f"run {runs}: {memory.get('stopped') or memory.get('reason') or 'over'}"


def _limits(condition: Condition) -> str:
    pairs = (("above", condition.above), ("below", condition.below))
    limits = " and ".join(f"{word} {limit:g}" for word, limit in pairs if limit is not None)
    return f"{condition.watch} {limits}"


def _rules(step: RunStep) -> list[str]:
    names = ("duration_s", "livetime_s", "records", "exposure_g_d", "n_bytes")
    given = [(name, getattr(step, name)) for name in names]
    return [f"{name} {value:g}" for name, value in given if value is not None]
