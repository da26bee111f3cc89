"""How procedures are asked, put together, restored and run; all of it without I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from daq.errors import ScheeliteError
from daq.readout.requests import (
    All,
    AnyAnswer,
    AnyRequest,
    Average,
    Averaged,
    Begin,
    Do,
    Done,
    End,
    Failed,
    Generate,
    Get,
    Held,
    Meet,
    Offered,
    Offers,
    Picture,
    Procedure,
    Put,
    Say,
    Settled,
    Several,
    Silence,
    Simple,
    SimpleAnswer,
    StoppedError,
    Take,
    Taken,
    Value,
    Wait,
    WaitStable,
)

logger = logging.getLogger(__name__)

R = TypeVar("R")
A = TypeVar("A")
Execute = Callable[[AnyRequest], AnyAnswer]
AT_BATHS, AT_MAP, AT_WORK = 0, 10_000, 20_000  # stages at which procedures meet, and from there on
MOST_SWING, N_AGAIN = 5.0, 6  # of an average: what noise does not do; repetitions
INITIALIZE = "initialize"  # what brings electronics that cannot be asked into a known state


# --- asking, with the type of the answer


def ask(request: AnyRequest, kind: type[A]) -> Procedure[A]:
    """Ask for one thing whose answer is of a kind; the error where it failed."""
    answer = yield request
    if isinstance(answer, Failed):
        raise answer.error
    if not isinstance(answer, kind):
        raise ScheeliteError(f"expected {kind.__name__} to {request!r}, found {answer!r}")
    return answer


def put(at: str, name: str, value: Value) -> Procedure[Held]:
    """Write; what is then held."""
    return ask(Put(at, name, value.item() if isinstance(value, np.generic) else value), Held)


def get(at: str, name: str) -> Procedure[Held]:
    """Read."""
    return ask(Get(at, name), Held)


def do(at: str, action: str) -> Procedure[Done]:
    """Let it act."""
    return ask(Do(at, action), Done)


def offers(at: str) -> Procedure[Offered]:
    """What the electronics of a detector have."""
    return ask(Offers(at), Offered)


def average(at: str, seconds: float, settle_s: float = 0.0) -> Procedure[Averaged]:
    """Mean and spread of a channel; again while a pulse disturbs it, and then the steadiest."""
    found = [(yield from ask(Average(at, seconds, settle_s), Averaged))]
    while found[-1].swing > MOST_SWING and len(found) <= N_AGAIN:
        yield from say(at, f"a pulse among the samples: takes them again, {len(found)}")
        found.append((yield from ask(Average(at, seconds), Averaged)))
    return min(found, key=lambda each: each.swing)


def take(at: str, seconds: float, settle_s: float = 0.0) -> Procedure[Taken]:
    """The next samples of a channel."""
    return ask(Take(at, seconds=seconds, settle_s=settle_s), Taken)


def wait(seconds: float) -> Procedure[Done]:
    """Let time pass."""
    return ask(Wait(seconds), Done)


def meet(at: str, stage: int) -> Procedure[Done]:
    """Let those that run together come to the same stage."""
    return ask(Meet(at, stage), Done)


def wait_stable(
    reading: Get, *, target: float, tolerance: float, dwell_s: float, timeout_s: float
) -> Procedure[Settled]:
    """Wait until a reading stays near a target."""
    return ask(WaitStable(reading, target, tolerance, dwell_s, timeout_s), Settled)


def say(at: str, text: str, fraction: float = 0.0, **values: float) -> Procedure[Done]:
    """Tell who watches."""
    return ask(Say(at, text, float(fraction), _plain(values)), Done)


def all_of(requests: Sequence[Simple]) -> Procedure[tuple[SimpleAnswer, ...]]:
    """Several at once; an answer of each, Failed for those that failed."""
    several = yield from ask(All(tuple(requests)), Several)
    return several.answers


def begin(at: str, step: str, expected: str) -> Procedure[Done]:
    """A step begins."""
    return ask(Begin(at, step, expected), Done)


def end(
    at: str,
    step: str,
    *,
    passed: bool,
    values: Mapping[str, float] | None = None,
    found: str = "",
    pictures: Sequence[Picture] = (),
) -> Procedure[Done]:
    """A step is over."""
    return ask(End(at, step, bool(passed), _plain(values or {}), found, tuple(pictures)), Done)


def _plain(values: Mapping[str, float]) -> dict[str, float]:
    """Numbers for a journal, whatever library they come from."""
    return {name: float(value) for name, value in values.items()}


# --- running


def run(procedure: Procedure[R], execute: Execute) -> R:
    """Run to the end; what `execute` raises is raised in the procedure."""
    try:
        request = next(procedure)
        while True:
            try:
                answer = execute(request)
            except Exception as error:  # the procedure must be able to put things back
                request = procedure.throw(_ours(error))
            else:
                request = procedure.send(answer)
    except StopIteration as stop:
        result: R = stop.value
        return result


# --- several procedures at once


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What became of one of several: its result, or the error that ended it."""

    result: R | None = None
    error: ScheeliteError | None = None


class _Lane(Generic[R]):
    """One of several procedures, and the requests that it waits for."""

    def __init__(self, procedure: Procedure[R]) -> None:
        self._procedure = procedure
        self.request: AnyRequest | None = None
        self.outcome: Outcome[R] = Outcome()
        self._step(lambda: next(procedure))

    @property
    def simple(self) -> tuple[Simple, ...]:
        """What it asks, taken apart."""
        if self.request is None:
            return ()
        return self.request.requests if isinstance(self.request, All) else (self.request,)

    def answer(self, answers: Sequence[SimpleAnswer]) -> None:
        """Tell it."""
        if isinstance(self.request, All):
            several = Several(tuple(answers))
            self._step(lambda: self._procedure.send(several))
        elif isinstance(answers[0], Failed):
            self.fail(answers[0].error)
        else:
            self._step(lambda: self._procedure.send(answers[0]))

    def fail(self, error: ScheeliteError) -> None:
        """Raise in it."""
        if self.request is not None:
            self._step(lambda: self._procedure.throw(error))

    def _step(self, go: Callable[[], AnyRequest]) -> None:
        try:
            self.request = go()
        except StopIteration as stop:
            self.request, self.outcome = None, Outcome(result=stop.value)
        except Exception as error:  # a mistake in one must not leave the others unattended
            self.request, self.outcome = None, Outcome(error=_ours(error))


def _let_on(lanes: Sequence[_Lane[R]]) -> None:
    """All wait for each other: those of the least stage go on."""
    stages = [each.request.stage for each in lanes if isinstance(each.request, Meet)]
    for lane in lanes:
        if isinstance(lane.request, Meet) and lane.request.stage == min(stages):
            lane.answer([Done()])


def together(procedures: Mapping[str, Procedure[R]]) -> Procedure[dict[str, Outcome[R]]]:
    """Several procedures in step: the requests of all, at once. One that fails ends alone."""
    lanes = {name: _Lane(procedure) for name, procedure in procedures.items()}
    while there := [lane for lane in lanes.values() if lane.request is not None]:
        active = [lane for lane in there if not isinstance(lane.request, Meet)]
        if not active:
            _let_on(there)
            continue
        requests = tuple(each for lane in active for each in lane.simple)
        try:
            answers = list((yield from ask(All(requests), Several)).answers)
        except ScheeliteError as error:
            for lane in there:
                lane.fail(error)
            continue
        for lane in active:
            n = len(lane.simple)
            mine, answers = answers[:n], answers[n:]
            lane.answer(mine)
    return {name: lane.outcome for name, lane in lanes.items()}


# --- putting things back


class _Before:
    """What was there before a procedure first changed it, in the order of changing."""

    def __init__(self) -> None:
        self._undo: dict[tuple[str, str], Simple] = {}

    def note(self, request: AnyRequest) -> Procedure[None]:
        """Learn what has to be done to take a request back, before it is done."""
        for each in request.requests if isinstance(request, All) else (request,):
            key = _changes(each)
            if key is not None and key not in self._undo:
                self._undo[key] = yield from _undoing(each, key)

    def put_back(self) -> Procedure[list[ScheeliteError]]:
        """Take everything back, the latest change first; all are tried, what failed is returned."""
        problems: list[ScheeliteError] = []
        for undo in reversed(self._undo.values()):
            try:
                yield from ask(undo, object)
            except ScheeliteError as error:
                problems.append(error)
        return problems


def putting_back(procedure: Procedure[R]) -> Procedure[R]:
    """The procedure; afterwards all it wrote is as it was before, however it ended."""
    before = _Before()
    try:
        result = yield from _watched(procedure, before)
    except Exception as error:  # whatever went wrong, things are put back
        raise _with(error, (yield from before.put_back())) from error
    if problems := (yield from before.put_back()):
        raise _with(problems[0], problems[1:])
    return result


def undone_if_failed(procedure: Procedure[R]) -> Procedure[R]:
    """The procedure; if it fails or is stopped, all it wrote is as it was before."""
    before = _Before()
    try:
        return (yield from _watched(procedure, before))
    except Exception as error:  # whatever went wrong, things are put back
        raise _with(error, (yield from before.put_back())) from error


def _watched(procedure: Procedure[R], before: _Before) -> Procedure[R]:
    try:
        request = next(procedure)
        while True:
            try:
                yield from before.note(request)
                answer = yield request
            except ScheeliteError as error:
                request = procedure.throw(error)
            else:
                request = procedure.send(answer)
    except StopIteration as stop:
        result: R = stop.value
        return result


def _changes(request: Simple) -> tuple[str, str] | None:
    """What a request changes: a value by its name, or the output on a line."""
    if isinstance(request, Put):
        return request.at, request.name
    if isinstance(request, Do):
        return request.at, "mode"  # each action leaves the loop open or locked
    if isinstance(request, Generate):
        return request.at, f"wave on {request.line}"
    return None


def _undoing(request: Simple, key: tuple[str, str]) -> Procedure[Simple]:
    if isinstance(request, Generate):
        return Silence(request.at, request.line)
    at, name = key
    try:
        held = yield from get(at, name)
    except StoppedError:
        raise
    except ScheeliteError:
        if isinstance(request, Do) and request.action == INITIALIZE:
            return request  # nobody knew what it was before
        raise
    return Put(at, name, held.value)


def _ours(error: Exception) -> ScheeliteError:
    """An error of ours; a mistake in a procedure is one as well."""
    if isinstance(error, ScheeliteError):
        return error
    logger.error("A procedure failed in a way nobody foresaw.", exc_info=error)
    return ScheeliteError(f"internal error, {type(error).__name__}: {error}")


def _with(given: Exception, problems: Sequence[ScheeliteError]) -> ScheeliteError:
    """The error, with what could not be put back."""
    error = _ours(given)
    for problem in problems:
        error.add_note(f"not put back: {problem}")
    return error
