"""The journal: what was answered brings a fresh procedure to where another was interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daq.errors import FormatError, OutOfRangeError, RefusedError, ScheeliteError
from daq.readout import guide, squid
from daq.readout.procedures import do, put, run, undone_if_failed
from daq.readout.requests import (
    All,
    AnyAnswer,
    AnyRequest,
    Begin,
    Do,
    Done,
    End,
    Failed,
    Generate,
    Held,
    Procedure,
    Put,
    Say,
    Silence,
    StoppedError,
    Taken,
)
from daq.services.journal import Journal, read_journal, standing
from daq.settings.detectors import Detector
from tests.squid_answering import Answering, SquidDevice
from tests.unit.test_squid_tuning import Plan


class Killed(BaseException):
    """The process is gone: not even an error of ours."""


class Dying:
    """Answers, and dies before the n-th answer."""

    def __init__(self, execute: Answering, n: int) -> None:
        self._execute, self._left = execute, n

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return self._execute(request)


def nothing(said: Say | Begin | End) -> None:
    del said


def procedure() -> Procedure[squid.Tuned]:
    return undone_if_failed(squid.tune_squid("C11", Plan()))


@pytest.mark.parametrize("n", [1, 40, 150, 290])
def test_after_a_kill_a_fresh_procedure_goes_on_and_ends_alike(tmp_path: Path, n: int) -> None:
    whole = run(procedure(), undisturbed := Answering({"C11": SquidDevice()}))
    answering, path = Answering({"C11": SquidDevice()}), tmp_path / "journal"
    with pytest.raises(Killed), Journal(path, Dying(answering, n), nothing) as journal:
        run(procedure(), journal)
    said: list[Say | Begin | End] = []
    with path.open("ab") as torn:
        torn.write(b"\x99\x00\x00\x00half")  # what the kill cut off
    with Journal(path, answering, said.append) as journal:
        assert journal.n_recorded == n
        resumed = run(procedure(), journal)
    assert resumed.curve.period_a == pytest.approx(whole.curve.period_a, rel=1e-3)
    assert answering.devices["C11"].held["mode"] == "LOCKED"
    # what was answered is not asked again, but what was written is written once more
    assert answering.n_asked < undisturbed.n_asked + 10
    assert [s for s in said if isinstance(s, Begin)] or n == 1
    assert len(list(read_journal(path))) > n


def test_what_somebody_changed_while_nobody_looked_is_set_again(tmp_path: Path) -> None:
    def two() -> Procedure[None]:
        yield from put("C11", "bias", 2e-5)
        yield from do("C11", "reset_loop")
        yield from put("C11", "flux", 1e-6)

    answering, path = Answering({"C11": SquidDevice()}), tmp_path / "journal"
    with pytest.raises(Killed), Journal(path, Dying(answering, 2), nothing) as journal:
        run(two(), journal)
    answering.devices["C11"].held.update(bias=9e-5, mode="OPEN")
    with Journal(path, answering, nothing) as journal:
        run(two(), journal)
    held = answering.devices["C11"].held
    assert (held["bias"], held["mode"], held["flux"]) == (2e-5, "LOCKED", 1e-6)


def test_a_journal_of_another_procedure_is_refused(tmp_path: Path) -> None:
    path, answering = tmp_path / "journal", Answering({"C11": SquidDevice()})
    with Journal(path, answering, nothing) as journal:
        run(put("C11", "bias", 1e-6), journal)
    with (
        Journal(path, answering, nothing) as journal,
        pytest.raises(RefusedError, match="expected the same procedure as in the journal"),
    ):
        run(put("C11", "bias", 2e-6), journal)


def test_an_error_that_was_answered_is_raised_again(tmp_path: Path) -> None:
    def refusing(request: AnyRequest) -> AnyAnswer:
        raise OutOfRangeError("too much")

    def never(request: AnyRequest) -> AnyAnswer:
        raise AssertionError(request)

    for execute in (refusing, never):
        with (
            Journal(tmp_path / "journal", execute, nothing) as journal,
            pytest.raises(OutOfRangeError, match="too much"),
        ):
            run(put("C11", "bias", 1.0), journal)


def test_a_stop_is_not_kept_so_that_who_goes_on_asks_again(tmp_path: Path) -> None:
    def stopping(request: AnyRequest) -> AnyAnswer:
        raise StoppedError("enough")

    path = tmp_path / "journal"
    with Journal(path, stopping, nothing) as journal, pytest.raises(StoppedError):
        run(put("C11", "bias", 1e-6), journal)
    assert list(read_journal(path)) == []


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    taken = Taken(np.array([1, -2, 3], np.int16), 1e4, 3e-4, 7)
    path = tmp_path / "journal"
    with Journal(path, lambda _: taken, nothing) as journal:
        journal(Do("C11", "x"))
    ((_, again),) = read_journal(path)
    assert isinstance(again, Taken)
    assert again.counts.dtype == np.int16
    np.testing.assert_array_equal(again.volts, taken.volts)
    assert (again.rate_hz, again.start) == (1e4, 7)


def test_something_else_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("hello")
    with pytest.raises(FormatError, match="expected a journal of procedures"):
        Journal(path, lambda _: Done(), nothing)


def test_what_stands_is_the_last_of_each_in_the_order_of_writing() -> None:
    wave = Generate("C11", "bias", "sine", 1.0, 1.0)
    told = [
        (Put("C11", "bias", 1.0), Held(1.0)),
        (All((Put("C11", "mode", "OPEN"), Put("C11", "flux", 2.0))), Done()),
        (Put("C11", "bias", 3.0), Held(3.0)),
        (Do("C11", "reset_loop"), Done()),
        (wave, Done()),
        (Put("C11", "offset", 9.0), Failed("OutOfRangeError", "no")),
        (Silence("C11", "bias"), Done()),
    ]
    assert standing(told) == [
        Put("C11", "flux", 2.0),
        Put("C11", "bias", 3.0),
        Do("C11", "reset_loop"),
        Silence("C11", "bias"),
    ]


def test_a_mistake_in_a_procedure_puts_things_back_all_the_same() -> None:
    def mistaken() -> Procedure[None]:
        yield from put("C11", "bias", 5e-6)
        raise ZeroDivisionError

    answering = Answering({"C11": SquidDevice()})
    with pytest.raises(ScheeliteError, match="internal error, ZeroDivisionError"):
        run(undone_if_failed(mistaken()), answering)
    assert answering.devices["C11"].held["bias"] == 0.0


def test_the_whole_of_a_channel_without_a_bias_source_ends_with_its_verification() -> None:
    plug = {"squid": "squids:1", "feedback_a_per_phi0": 38e-6}
    plans = {at: Detector.model_validate(plug) for at in ("C11", "C12")}
    answering = Answering({at: SquidDevice() for at in plans})
    outcomes = run(guide.tune(plans), answering)
    assert [each.error for each in outcomes.values()] == [None, None]
    steps = [end.step for end in answering.ended if end.at == "C12"]
    assert steps == [*guide.SQUID_STEPS, "verify"]
