"""Procedures: asked in order, together in step, and what they wrote put back."""

from __future__ import annotations

import pytest

from daq.errors import NotConnectedError, OutOfRangeError, ScheeliteError
from daq.readout import procedures
from daq.readout.procedures import (
    Execute,
    Outcome,
    average,
    putting_back,
    run,
    together,
    undone_if_failed,
)
from daq.readout.requests import (
    All,
    AnyAnswer,
    AnyRequest,
    Averaged,
    Done,
    Failed,
    Generate,
    Get,
    Held,
    Procedure,
    Put,
    Say,
    Several,
    Silence,
    StoppedError,
    Wait,
    failed,
)
from tests.listed import Listed, against


class Bench:
    """Holds what it is told; refuses what is listed in `refused`."""

    def __init__(self, **held: float) -> None:
        self.held, self.asked = dict(held), list[AnyRequest]()
        self.refused: set[AnyRequest] = set()

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        if isinstance(request, All):
            return Several(tuple(self._one(each) for each in request.requests))
        return self._simple(request)

    def _one(self, request: AnyRequest) -> AnyAnswer:
        try:
            return self._simple(request)
        except ScheeliteError as error:
            return failed(error)

    def _simple(self, request: AnyRequest) -> AnyAnswer:
        self.asked.append(request)
        if request in self.refused:
            raise OutOfRangeError("too much")
        if isinstance(request, Put):
            self.held[f"{request.at}.{request.name}"] = request.value
        if isinstance(request, Put | Get):
            return Held(self.held[f"{request.at}.{request.name}"])
        return Done()


def ramp(at: str, *currents: float) -> Procedure[float]:
    total = 0.0
    for current in currents:
        total += (yield from procedures.put(at, "bias", current)).number
    return total


def test_a_procedure_is_told_what_is_held_and_returns_its_result() -> None:
    assert against(ramp("C11", 1.0, 2.0), [Held(0.9), Held(2.1)]) == 3.0


def test_a_request_that_fails_is_raised_where_it_was_asked() -> None:
    listed = Listed([Held(1.0), NotConnectedError("the line is cut")])
    with pytest.raises(NotConnectedError, match="the line is cut"):
        run(ramp("C11", 1.0, 2.0, 3.0), listed)
    assert listed.asked == [Put("C11", "bias", 1.0), Put("C11", "bias", 2.0)]


def test_an_answer_of_another_kind_is_named() -> None:
    with pytest.raises(ScheeliteError, match=r"expected Held to Put.*, found Done"):
        against(ramp("C11", 1.0), [Done()])


def test_a_value_that_is_no_number_is_named() -> None:
    with pytest.raises(ScheeliteError, match="expected a number, found 'OPEN'"):
        against(ramp("C11", 1.0), [Held("OPEN")])


def test_procedures_together_ask_at_once_and_each_gets_its_own_answers() -> None:
    bench = Bench()
    both = run(together({"a": ramp("C11", 1.0, 2.0), "b": ramp("C12", 10.0)}), bench)
    assert both == {"a": Outcome(result=3.0), "b": Outcome(result=10.0)}
    assert [getattr(each, "at", "") for each in bench.asked] == ["C11", "C12", "C11"]


def test_of_procedures_together_one_that_fails_ends_alone() -> None:
    bench = Bench()
    bench.refused = {Put("C11", "bias", 2.0)}
    both = run(together({"a": ramp("C11", 1.0, 2.0, 3.0), "b": ramp("C12", 1.0, 2.0, 3.0)}), bench)
    assert isinstance(both["a"].error, OutOfRangeError)
    assert both["b"].result == 6.0
    assert Put("C11", "bias", 3.0) not in bench.asked


def test_of_procedures_together_several_requests_of_one_stay_together() -> None:
    def pair(at: str) -> Procedure[list[float]]:
        answers = yield from procedures.all_of([Put(at, "bias", 1.0), Put(at, "flux", 2.0)])
        return [each.number for each in answers if isinstance(each, Held)]

    both = run(together({"a": pair("C11"), "b": ramp("C12", 5.0)}), Bench())
    assert both == {"a": Outcome(result=[1.0, 2.0]), "b": Outcome(result=5.0)}


def stopped_where_it_waits(bench: Bench) -> Execute:
    def stopping(request: AnyRequest) -> AnyAnswer:
        if isinstance(request, All) and Wait(9.0) in request.requests:
            raise StoppedError("enough")
        return bench(request)

    return stopping


def meeting(at: str, *before: float, stage: int = 0) -> Procedure[float]:
    total = yield from ramp(at, *before)
    yield from procedures.meet(at, stage)
    return total + (yield from ramp(at, 99.0))


def test_procedures_that_meet_wait_for_the_slowest_but_not_for_one_that_ended() -> None:
    bench = Bench()
    bench.refused = {Put("C13", "bias", 7.0)}
    lanes = {"a": meeting("C11", 1.0), "b": meeting("C12", 1.0, 2.0), "c": meeting("C13", 7.0)}
    found = run(together(lanes), bench)
    assert (found["a"].result, found["b"].result) == (100.0, 102.0)
    assert bench.asked[-2:] == [Put("C11", "bias", 99.0), Put("C12", "bias", 99.0)]


def test_who_is_at_a_later_stage_waits_for_those_who_are_not_there_yet() -> None:
    def two(at: str) -> Procedure[float]:
        yield from procedures.meet(at, 1)
        yield from ramp(at, 1.0, 2.0, 3.0)
        return (yield from meeting(at, 4.0, stage=2))

    bench = Bench()
    run(together({"a": meeting("C11", stage=2), "b": two("C12")}), bench)
    assert bench.asked[-2:] == [Put("C11", "bias", 99.0), Put("C12", "bias", 99.0)]


def test_a_stop_reaches_those_that_wait_for_others_too() -> None:
    bench = Bench(**{"C11.bias": 1.0, "C12.bias": 2.0})

    def slow(at: str) -> Procedure[float]:
        yield from patient(at)
        return (yield from meeting(at))

    lanes = {"a": undone_if_failed(meeting("C11", 5.0)), "b": undone_if_failed(slow("C12"))}
    found = run(together(lanes), stopped_where_it_waits(bench))
    assert {type(each.error) for each in found.values()} == {StoppedError}
    assert bench.held == {"C11.bias": 1.0, "C12.bias": 2.0}


def test_what_was_written_is_put_back_the_latest_first() -> None:
    def rise() -> Procedure[None]:
        yield from procedures.put("C11", "bias", 5.0)
        yield from procedures.do("C11", "reset_loop")
        yield from procedures.put("C11", "bias", 6.0)
        yield from procedures.ask(Generate("C11", "heater", "sine", 10.0, 1.0), Done)

    bench = Bench(**{"C11.bias": 1.0, "C11.mode": 0.0})
    run(putting_back(rise()), bench)
    assert bench.asked[-3:] == [
        Silence("C11", "heater"),
        Put("C11", "mode", 0.0),
        Put("C11", "bias", 1.0),
    ]


def test_a_procedure_that_fails_leaves_things_as_they_were_and_one_that_does_not_keeps_them() -> (
    None
):
    bench = Bench(**{"C11.bias": 1.0})
    assert run(undone_if_failed(ramp("C11", 5.0)), bench) == 5.0
    assert bench.held["C11.bias"] == 5.0
    bench.refused = {Put("C11", "bias", 7.0)}
    with pytest.raises(OutOfRangeError):
        run(undone_if_failed(ramp("C11", 6.0, 7.0)), bench)
    assert bench.held["C11.bias"] == 5.0


def test_stopped_in_the_middle_of_several_each_puts_its_own_back() -> None:
    bench = Bench(**{"C11.bias": 1.0, "C12.bias": 2.0})
    lanes = {at: undone_if_failed(patient(at)) for at in ("C11", "C12")}
    found = run(together(lanes), stopped_where_it_waits(bench))
    assert {type(each.error) for each in found.values()} == {StoppedError}
    assert bench.held == {"C11.bias": 1.0, "C12.bias": 2.0}


def patient(at: str) -> Procedure[None]:
    yield from procedures.put(at, "bias", 9.0)
    yield from procedures.wait(9.0)


def test_what_cannot_be_put_back_is_said_and_the_rest_is() -> None:
    def rise() -> Procedure[None]:
        yield from procedures.put("C11", "bias", 5.0)
        yield from procedures.put("C11", "flux", 5.0)

    bench = Bench(**{"C11.bias": 1.0, "C11.flux": 2.0})
    bench.refused = {Put("C11", "flux", 2.0)}
    with pytest.raises(OutOfRangeError, match="too much"):
        run(putting_back(rise()), bench)
    assert bench.held["C11.bias"] == 1.0


def test_what_cannot_be_put_back_after_a_failure_is_noted_with_it() -> None:
    bench = Bench(**{"C11.bias": 1.0})
    bench.refused = {Put("C11", "bias", 1.0), Put("C11", "bias", 6.0)}
    with pytest.raises(OutOfRangeError) as caught:
        run(undone_if_failed(ramp("C11", 5.0, 6.0)), bench)
    assert caught.value.__notes__ == ["not put back: too much"]


def test_an_error_on_the_wire_is_the_same_error_again() -> None:
    again = Failed("StoppedError", "enough").error
    assert (type(again), str(again)) == (StoppedError, "enough")


def test_an_average_with_a_pulse_is_taken_again_and_the_steadiest_is_kept():
    answers = [Averaged(1.0, 0.1, 10, swing=30.0), Averaged(2.0, 0.1, 10, swing=0.5)]
    said = []

    def execute(request):
        if isinstance(request, Say):
            said.append(request.text)
            return Done()
        return answers.pop(0)

    assert run(average("C11", 0.1, 0.2), execute).mean_v == 2.0
    assert said == ["a pulse among the samples: takes them again, 1"]


def test_an_average_that_is_never_steady_ends_with_the_steadiest():
    swings = [9.0, 8.0, 7.0, 6.0, 7.0, 8.0, 9.0, 0.0]

    def execute(request):
        return Done() if isinstance(request, Say) else Averaged(0.0, 0.1, 10, swing=swings.pop(0))

    assert run(average("C11", 0.1), execute).swing == 6.0
    assert swings == [0.0]
