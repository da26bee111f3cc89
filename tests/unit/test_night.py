"""A night by a clock of the test's own: waits, runs and their rules, crashes, and its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daq.errors import (
    CheckError,
    NotConnectedError,
    RefusedError,
    ServiceTimeoutError,
    SettingsError,
)
from daq.run.quantities import Quantity
from daq.services import nightkeeper, nightrun
from daq.services import tune as tune_service
from daq.services.authority import Notes
from daq.services.nightkeeper import (
    Deeds,
    NightKeeper,
    StartNight,
    iv_command,
    tune_command,
)
from daq.services.nightrun import Journal, NightRun
from daq.services.nightsteps import (
    Answer,
    Facts,
    MeasureIv,
    Randomly,
    Start,
    Stop,
    Tune,
    Write,
    expected_s,
)
from daq.settings.loader import load
from daq.settings.nightplan import parse_plan, seconds_until

NS = 10**9
T0 = 1_790_000_000 * NS
MXC = "fridge.input 6.temperature"
BENCH = load(Path("config/bench.toml"))

PLAN = f"""
name = "test"
until = "07:00"
[[first]]
kind = "wait"
watch = "{MXC}"
below = "12 mK"
stable = "10 s"
timeout = "100 s"
[[repeat]]
kind = "run"
duration = "60 s"
[[last]]
kind = "write"
instrument = "fridge"
parameter = "heater_range"
value = "OFF"
"""


class Lab:
    """What run control would be: runs by their samples' time, which is the night's here."""

    def __init__(self) -> None:
        self.t_s = 0.0
        self.mxc, self.run, self.last, self.n = 0.010, None, (None, ""), 0
        self.duration_s, self.began_s, self.records = None, 0.0, 0.0
        self.deeds, self.refusals, self.speed = [], [], 1.0

    def facts(self) -> Facts:
        if self.run and self.duration_s and self.t_s - self.began_s >= self.duration_s:
            self.end(f"{self.duration_s:g} s are over")
        elapsed = self.t_s - self.began_s if self.run else 0.0
        quantities = {
            MXC: Quantity(self.mxc, "K"),
            "run.recording": Quantity(float(self.run is not None)),
            "run.elapsed_s": Quantity(elapsed, "s"),
            "run.records": Quantity(self.records),
            "channels.C11.livetime_s": Quantity(0.9 * elapsed, "s"),
        }
        return Facts(
            t_ns=T0 + round(self.t_s * NS),
            quantities=quantities,
            state="running" if self.run else "idle",
            run=self.run,
            last_run=self.last[0],
            last_reason=self.last[1],
            targets=("C11", "C12"),
            speed=self.speed,
        )

    def end(self, reason: str) -> None:
        self.run, self.last = None, (self.run, reason)

    def do(self, ask):
        self.deeds.append(ask)
        if self.refusals:
            return Answer(error=self.refusals.pop(0))
        if isinstance(ask, Start):
            self.n += 1
            self.run, self.began_s, self.duration_s = self.n, self.t_s, ask.duration_s
            return Answer(run=self.n)
        if isinstance(ask, Stop):
            self.end(ask.reason)
        if isinstance(ask, Write):
            done = Future()
            done.set_result(Answer())
            return done
        return Answer()

    def asked(self, kind):
        return [deed for deed in self.deeds if isinstance(deed, kind)]


@lru_cache
def made(text: str):
    return parse_plan(text, Path("plan.toml"), BENCH)


class Course:
    """A night, ticked once a second."""

    def __init__(self, folder: Path, text: str, until_s: float = 1000.0) -> None:
        self.lab, self.plan, self.home = Lab(), made(text), folder
        journal = Journal("test", T0, T0 + round(until_s * NS), "anna")
        self.night = nightrun.begin(folder, self.plan, text, journal, "n1", self.lab.do)

    def to(self, t_s: float):
        while self.lab.t_s < t_s:
            self.lab.t_s += 1.0
            if self.night.tick(self.lab.facts()):
                break
        return self

    def crash(self) -> None:
        """Run control is killed and started again: only the disk is left."""
        journal = nightrun.read_journal(nightrun.newest(self.home))
        self.night = NightRun(self.night.folder, self.plan, journal, self.lab.do)

    @property
    def outcomes(self):
        return [row.outcome for row in self.night.journal.rows if row.ended_ns]


@pytest.fixture
def course(tmp_path):
    return lambda text, **given: Course(tmp_path, text, **given)


def runs(text: str) -> str:
    return f'name = "test"\n[[first]]\nkind = "run"\n{text}\n'


def test_a_night_waits_runs_again_and_again_and_ends_with_its_last(course):
    night = course(PLAN, until_s=200.0)
    night.lab.mxc = 0.020
    night.to(30)
    assert night.lab.deeds == []
    night.lab.mxc = 0.011
    night.to(38)
    night.lab.mxc = 0.013  # not stable for long enough: it counts anew
    night.to(39)
    night.lab.mxc = 0.011
    night.to(45)
    assert night.lab.deeds == []
    night.to(400)
    assert [deed.duration_s for deed in night.lab.asked(Start)] == [60.0, 60.0, 60.0]
    assert [deed.reason for deed in night.lab.asked(Stop)] == ["it is 07:00"]
    assert [w.order.value for w in night.lab.asked(Write)] == ["OFF"]
    assert night.night.over
    assert night.night.journal.outcome == "done"
    assert night.night.runs == [1, 2, 3]
    assert night.outcomes[1:] == [
        "run 1: 60 s are over", "run 2: 60 s are over", "run 3: it is 07:00", "done",
    ]  # fmt: skip


def test_what_does_not_become_cold_in_time_ends_the_night_with_its_last(course):
    night = course(PLAN)
    night.lab.mxc = 0.020
    night.to(400)
    assert night.night.over
    assert f"{MXC} was not {MXC} below 0.012 in 100 s" in night.night.journal.outcome
    assert night.lab.asked(Start) == []
    assert len(night.lab.asked(Write)) == 1


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ('duration = "50 s"', "50 s are over"),
        ("records = 30", "records of 30 is reached"),
        ("livetime_s = 45.0", "livetime_s of 45 is reached"),
        ('records = 30\nduration = "10 s"', "10 s are over"),
    ],
)
def test_a_run_ends_by_whichever_rule_comes_first(course, rule, reason):
    night = course(runs(rule)).to(20)
    night.lab.records = 29.0
    night.to(40)
    night.lab.records = 31.0
    assert night.to(200).outcomes == [f"run 1: {reason}"]


def test_a_run_ends_where_it_becomes_warm_for_long_enough(course):
    rule = f'duration = "500 s"\nstop_if = [{{ watch = "{MXC}", above = "15 mK", for = "5 s" }}]'
    night = course(runs(rule)).to(20)
    night.lab.mxc = 0.016
    night.to(23)
    night.lab.mxc = 0.010
    night.to(30)
    assert night.lab.run == 1
    night.lab.mxc = 0.016
    night.to(60)
    assert night.outcomes == [f"run 1: {MXC} is 0.016"]


def test_a_run_that_ended_for_no_reason_of_ours_is_followed_by_another(course):
    night = course(runs('duration = "100 s"')).to(40)
    night.lab.end("digitizer targets began to number its samples anew")
    night.to(300)
    starts = [deed.duration_s for deed in night.lab.asked(Start)]
    assert starts[0] == 100.0
    assert 55 < starts[1] < 70
    assert night.night.runs == [1, 2]


def test_a_run_that_the_operator_ends_is_over(course):
    night = course(runs('duration = "100 s"')).to(40)
    night.lab.end("stopped by the operator")
    night.to(300)
    assert night.outcomes == ["run 1: stopped by the operator"]


def test_a_run_that_an_alarm_ends_ends_the_night(course):
    night = course(PLAN, until_s=900.0).to(60)
    night.lab.end("alarm warm (critical): too warm")
    night.to(200)
    assert night.night.over
    assert "too warm" in night.night.journal.outcome
    assert night.lab.n == 1
    assert len(night.lab.asked(Write)) == 1


@pytest.mark.parametrize("crash_s", range(1, 200, 19))
def test_a_crash_at_any_time_costs_no_run_and_begins_none_twice(tmp_path, crash_s):
    night = Course(tmp_path, PLAN, until_s=150.0)
    night.to(crash_s)
    night.crash()
    night.to(400)
    assert night.night.over
    assert night.night.runs == [1, 2, 3]
    assert night.lab.n == 3
    assert 1 <= len(night.lab.asked(Write)) <= 2  # what was asked for and not heard of: again


def test_a_crash_between_asking_for_a_run_and_hearing_of_it_begins_it_once(course):
    night = course(runs('duration = "100 s"'))
    lab, do = night.lab, night.lab.do

    class Killed(BaseException):
        pass

    def dies(ask):
        do(ask)
        raise Killed

    night.night._do = dies
    with pytest.raises(Killed):
        night.to(20)
    assert lab.run == 1
    night.crash()
    night.to(300)
    assert lab.n == 1
    assert night.outcomes == ["run 1: 100 s are over"]


def test_a_run_that_began_although_nobody_said_so_is_the_nights(course):
    night = course(runs('duration = "100 s"'))
    do = night.lab.do

    def late(ask):
        done = do(ask)
        return Answer(error=ServiceTimeoutError("no answer")) if isinstance(ask, Start) else done

    night.night._do = late
    night.to(300)
    assert night.lab.n == 1
    assert night.outcomes == ["run 1: 100 s are over"]


def test_what_is_away_is_asked_again_and_what_is_refused_is_not(course):
    night = course(runs('duration = "10 s"'))
    night.lab.refusals = [NotConnectedError("no news from core")] * 5
    night.to(100)
    assert night.outcomes == ["run 1: 10 s are over"]
    assert len(night.lab.asked(Start)) == 6


def test_patience_with_services_is_by_the_real_clock_and_costs_few_tries(course):
    night = course(runs('duration = "10 s"'))
    night.lab.speed = 8.0
    night.lab.refusals = [NotConnectedError("no samples from targets")] * 10_000
    night.to(2300)
    assert not night.night.over
    night.to(2600)
    assert night.night.journal.outcome == "first.0: no samples from targets"
    assert 100 < len(night.lab.asked(Start)) < 160  # one in 16 s of the night, 2 s of ours


def test_a_refused_order_ends_the_night(course):
    text = 'name = "test"\n[[first]]\nkind = "write"\ninstrument = "fridge"\n'
    night = course(text + 'parameter = "heater_range"\nvalue = "OFF"\n')
    night.lab.refusals = [RefusedError("anna holds the control lease")]
    night.to(10)
    assert night.night.journal.outcome == "first.0: anna holds the control lease"


def test_noise_is_recorded_at_random(course):
    text = 'name = "test"\n[[first]]\nkind = "noise"\nduration = "20 s"\nrate_hz = 5.0\n'
    night = course(text).to(100)
    assert night.lab.asked(Randomly) == [Randomly(("C11", "C12"), 5.0)]
    assert night.night.over


HEATER = """
name = "test"
[[first]]
kind = "heater"
instrument = "pulser"
height = "output 1.amplitude"
heights = [0.1, 0.2, 0.4]
each = "10 s"
before = [{ instrument = "pulser", parameter = "output 1.on", value = true }]
after = [{ instrument = "pulser", parameter = "output 1.on", value = false }]
"""


def heights(night):
    return [
        w.order.value for w in night.lab.asked(Write) if w.order.parameter.endswith("amplitude")
    ]


def test_the_heater_has_one_height_after_the_other_and_is_off_again(course):
    night = course(HEATER).to(100)
    assert heights(night) == [0.1, 0.2, 0.4]
    assert night.lab.asked(Start)[0].duration_s == 30.0
    values = [w.order.value for w in night.lab.asked(Write)]
    assert values[0] is True
    assert values[-1] is False
    assert night.outcomes == ["run 1: 30 s are over"]


def test_the_heater_is_off_even_where_its_run_could_not_be(course):
    night = course(HEATER).to(15)
    night.lab.end("alarm warm: too warm")
    night.to(50)
    assert night.lab.asked(Write)[-1].order.value is False
    assert "too warm" in night.night.journal.outcome


def test_after_a_crash_the_heater_has_the_height_that_is_due(course):
    night = course(HEATER).to(16)
    night.crash()
    night.to(100)
    assert heights(night) in ([0.1, 0.2, 0.2, 0.4], [0.1, 0.1, 0.2, 0.4])
    assert night.lab.n == 1


def test_a_stop_ends_the_step_and_then_does_the_last(course):
    night = course(PLAN, until_s=900.0).to(40)
    night.night.hurry("stopped by the operator anna")
    night.to(60)
    assert night.night.over
    assert [deed.reason for deed in night.lab.asked(Stop)] == ["stopped by the operator anna"]
    assert len(night.lab.asked(Write)) == 1
    assert night.night.journal.outcome == "stopped by the operator anna"


TUNE = 'name = "test"\n[[first]]\nkind = "tune"\nchannels = ["C11"]\n'


def test_a_tuning_that_passes_is_done_and_one_that_does_not_ends_the_night(course):
    night = course(TUNE).to(10)
    assert night.lab.asked(Tune) == [Tune(channels=("C11",), timeout_s=21600.0, again=False)]
    assert night.outcomes == ["passed"]


@pytest.mark.parametrize(
    ("otherwise", "outcome"),
    [("end", "first.0: C11 did not pass"), ("go-on", "done")],
)
def test_a_tuning_that_does_not_pass(course, otherwise, outcome):
    night = course(f'{TUNE}otherwise = "{otherwise}"\n')
    night.lab.refusals = [CheckError("C11 did not pass")]
    night.to(10)
    assert night.night.journal.outcome == outcome


def test_a_tuning_that_a_crash_ended_goes_on(course):
    night = course(TUNE)
    night.night._do = lambda _ask: Future()  # which is never done
    night.to(10)
    night.crash()
    night.to(20)
    assert [deed.again for deed in night.lab.asked(Tune)] == [True]
    assert night.outcomes == ["passed"]


IV = 'name = "test"\n[[first]]\nkind = "iv"\nchannels = ["C11", "C12"]\ntimeout = "10 min"\n'


def test_iv_curves_are_measured_and_what_they_say_is_told(course):
    night = course(IV)
    asked = MeasureIv(channels=("C11", "C12"), timeout_s=600.0)
    night.night._do = lambda ask: Answer(said="Rn C11 200 mohm") if ask == asked else None
    assert night.to(10).outcomes == ["Rn C11 200 mohm"]


@pytest.mark.parametrize(
    ("otherwise", "outcome"),
    [('otherwise = "end"\n', "first.0: C12: no transition seen"), ("", "done")],
)
def test_an_iv_that_cannot_be_had_ends_the_night_only_where_that_is_asked_for(
    course, otherwise, outcome
):
    night = course(IV + otherwise)
    night.lab.refusals = [CheckError("C12: no transition seen")]
    night.to(10)
    assert night.night.journal.outcome == outcome


def test_an_iv_that_a_crash_ended_begins_anew(course):
    night = course(IV)
    asked = []
    night.night._do = lambda ask: [asked.append(ask), Future()][1]  # which is never done
    night.to(10)
    night.crash()
    night.to(20)
    assert [*asked, *night.lab.asked(MeasureIv)] == 2 * [asked[0]]


@contextmanager
def a_keeper() -> Iterator[NightKeeper]:
    """Run control's night without a run control."""
    deeds = Deeds(start=int, stop=dict, ask_core=dict, ticket=str)
    keeper = NightKeeper(BENCH, Notes("ipc://nobody"), deeds, lambda: T0)
    try:
        yield keeper
    finally:
        keeper.close()
        keeper._notes.close()


IV_TOLD = (
    """print('{"channels": {"C11": {"channel": "C11", "iv": {"r_normal_ohm": [0.2, 0.001]}}}}')"""
)


@pytest.mark.parametrize(
    ("code", "said", "error"),
    [
        (IV_TOLD, "Rn C11 200 mohm: iv-first-0-0.json", None),
        (f"{IV_TOLD}; raise SystemExit('C12: frozen')", "", "the IV: C12: frozen"),
    ],
)
def test_the_curves_are_kept_in_the_nights_folder(tmp_path, monkeypatch, code, said, error):
    monkeypatch.chdir(tmp_path)  # where the nights would be
    monkeypatch.setattr(nightkeeper, "iv_command", lambda *_: [sys.executable, "-c", code])
    with a_keeper() as keeper:
        begun = keeper.verbs["night-start"].act(StartNight(IV, "plan.toml", "anna"))
        folder = Path(begun["folder"])
        answer = keeper._do(MeasureIv(channels=("C11",), timeout_s=60.0)).result(60)
    assert (answer.said, answer.error and str(answer.error)) == (said, error)
    assert '"r_normal_ohm": [0.2' in (folder / "iv-first-0-0.json").read_text()


def test_a_rehearsal_shows_the_iv():
    from datetime import UTC, datetime

    from daq.services.night_commands import rehearsal

    (row,) = rehearsal(made(IV), datetime(2026, 11, 26, 22, 0, tzinfo=UTC))
    assert row["what"] == "IV curves of C11, C12"


def test_beside_a_fast_bench_procedures_know_its_speed(tmp_path):
    text = Path("config/bench.toml").read_text().partition("\n[bench]\n")[0]
    path = tmp_path / "fast.toml"
    path.write_text(f"{text}\n[night]\nspeed = 8.0\n")
    assert tune_service._speed(load(path)) == 8.0
    assert tune_service._speed(BENCH) == 1.0


def test_the_command_that_measures_is_one_that_there_is():
    from daq.services import cli

    command = iv_command(BENCH, MeasureIv(channels=("C11", "C99"), timeout_s=10.0))
    found = CliRunner().invoke(cli.app, command[3:])
    assert "expected one of the detectors" in str(found.exception)


@pytest.mark.parametrize("again", [False, True])
def test_the_command_that_tunes_is_one_that_there_is(again):
    from daq.services import cli

    ask = Tune(channels=("C11", "C12"), timeout_s=10.0, again=again)
    command = tune_command(BENCH, ask)
    found = CliRunner().invoke(cli.app, [*command[3:], "--dry-run"])
    assert found.exit_code == 0, found.output


@pytest.mark.parametrize(
    ("code", "timeout_s", "said"),
    [
        ("", 60.0, None),
        ("raise SystemExit('C11: no lock')", 60.0, "the tuning: C11: no lock"),
        ("raise SystemExit(1)", 60.0, "the tuning: it ended with 1"),
        ("import time; time.sleep(60)", 0.5, "the tuning took longer than 0.5 s"),
    ],
)
def test_what_becomes_of_the_process_that_tunes(tmp_path, monkeypatch, code, timeout_s, said):
    monkeypatch.chdir(tmp_path)  # where the nights would be
    monkeypatch.setattr(nightkeeper, "tune_command", lambda *_: [sys.executable, "-c", code])
    with a_keeper() as keeper:
        done = keeper._do(Tune(channels=(), timeout_s=timeout_s, again=False))
        assert isinstance(done, Future)
        error = done.result(60).error
    assert (None if error is None else str(error)) == said


def problems(text: str) -> str:
    with pytest.raises(SettingsError) as found:
        made(text)
    return "\n".join(found.value.problems)


def test_all_mistakes_of_a_plan_are_told_at_once_with_their_places():
    said = problems("""
name = "x"
[[first]]
kind = "wait"
watch = "run.gaps"
timeout = "2 K"
[[last]]
kind = "run"
dration = "1 h"
[[last]]
kind = "dance"
""")
    for part in ("first.0.wait.timeout_s: field required", "last.0.run.dration", "last.1"):
        assert part in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"', "expected at least one step, found none"),
        ('name = "x"\nuntil = "7"\n' + PLAN.partition("[[")[1] + "first]]\nkind = 'wait'\n"
         "watch = 'run.gaps'\nbelow = 1.0\ntimeout_s = 5.0", "expected until to be HH:MM"),
        ('name = "x"\nuntil = "07:00"\n[[first]]\nkind = "wait"\nwatch = "run.gaps"\nbelow = 1.0\n'
         "timeout_s = 5.0", "expected until where something is repeated"),
        (PLAN.replace("below = ", "above = ").replace('"OFF"', '"OF"'), "fridge.heater_range"),
        (PLAN.replace(MXC, "fridge.mxc"), "first.0.watch: expected one of"),
        ('name = "x"\n[[first]]\nkind = "iv"\nchannels = ["C99"]', "first.0.channels: expected"),
        ('name = "x"\n[[first]]\nkind = "tune"\nchannels = ["C99"]', "first.0.channels: expected"),
        (runs(""), "expected one of duration_s, livetime_s, records"),
        (runs('duration = "1 s"\nstop_if = [{ watch = "run.gapz", above = 1.0 }]'),
         "first.0.stop_if.0.watch"),
        ('name = "x"\n[[first]]\nkind = "noise"\nduration_s = 5.0\nrate_hz = 1.0\n'
         'channels = ["C99"]', "found 'C99'"),
        (HEATER.replace("pulser", "plser"), "expected an instrument, found 'plser'"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_done_is_refused_at_load(text, said):
    assert said in problems(text)


def test_the_next_seven_o_clock_may_be_tomorrows():
    from datetime import UTC, datetime

    evening = datetime(2026, 11, 26, 22, 30, tzinfo=UTC)
    assert seconds_until("07:00", evening) == 8.5 * 3600
    assert seconds_until("22:31", evening) == 60
    assert seconds_until("22:30", evening) == 86400


def test_a_plan_says_how_long_it_takes():
    plan = made(PLAN)
    assert [expected_s(step) for _, step in plan.steps()] == [
        (10.0, 100.0),
        (60.0, 60.0),
        (0.0, 0.0),
    ]


def test_a_rehearsal_says_what_begins_when():
    from datetime import UTC, datetime

    from daq.services.night_commands import rehearsal

    rows = rehearsal(made(PLAN), datetime(2026, 11, 26, 22, 0, tzinfo=UTC))
    assert [(row["earliest"], row["latest"], row["part"]) for row in rows] == [
        ("22:00:00", "22:00:00", "first"),
        ("22:00:10", "22:01:40", "repeat"),
        ("07:00:00", "07:00:00", "last"),
    ]
    assert rows[1]["what"] == "run A: duration_s 60, again and again until 07:00"
