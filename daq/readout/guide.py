"""The guided whole: from a cold, unbiased channel to a sensor that works, step by step.

identify, v-phi, lock point, lock, proof; for electronics that bias a TES also iv, bias point, noise
and, with a generator at the bias, dI/dV; verify. A deep one measures Tc and G and
compares working points after the IV. Each begins with what is expected of it and ends
with what was found. A channel that fails is left as it was found, and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daq.errors import ScheeliteError
from daq.readout import squid
from daq.readout.characterize import Sensor
from daq.readout.deep_steps import (
    MAP,
    PULSES,
    TC,
    DeepPlan,
    SharedBath,
    bath_of,
    best_point,
    conductance,
    shared_bath,
)
from daq.readout.electronics import hold
from daq.readout.electronics import restore as restore_channel
from daq.readout.iv import Iv
from daq.readout.procedures import (
    Outcome,
    ask,
    begin,
    end,
    get,
    offers,
    put,
    together,
    undone_if_failed,
)
from daq.readout.requests import Procedure, Silence, StoppedError, Value
from daq.readout.sensor_steps import WAVE, Aim, Plan, measure_sensor, settle_sensor
from daq.readout.steps import StepFailedError

SQUID_STEPS = ("identify", "v-phi", "lock point", "lock", "proof")
DEEP_STEPS = (TC, MAP)
TES_STEPS = ("iv", "bias point", "dI/dV", "noise")
STEPS = (*SQUID_STEPS, *TES_STEPS, "verify")


@dataclass(frozen=True, slots=True)
class Deep:
    """That the tuning is a deep one, and the bath that it may warm."""

    bath: SharedBath | None


@dataclass(frozen=True, slots=True)
class Channel:
    """What tuning made of a channel: what it held before, and what it holds now."""

    before: Mapping[str, Value]
    held: Mapping[str, Value]


def tune(
    plans: Mapping[str, DeepPlan], *, deep: bool = False
) -> Procedure[dict[str, Outcome[Channel]]]:
    """Several channels at once; deeply, with Tc and G and a map of working points as well."""
    if not deep:
        return together({at: undone_if_failed(_tune(at, plan)) for at, plan in plans.items()})
    return _tune_deep(plans)


def _tune_deep(plans: Mapping[str, DeepPlan]) -> Procedure[dict[str, Outcome[Channel]]]:
    bath = shared_bath(plans)
    outcomes = yield from together(
        {at: undone_if_failed(_tune(at, plan, Deep(bath))) for at, plan in plans.items()}
        | ({"": _of_bath(bath)} if bath else {})
    )
    of_bath = outcomes.pop("", None)
    if of_bath and of_bath.error and not any(each.error for each in outcomes.values()):
        raise of_bath.error
    return outcomes


def _of_bath(bath: SharedBath) -> Procedure[Channel]:
    """The lane of the bath, which is no channel."""
    yield from bath.lane()
    return Channel({}, {})


def snapshot(
    plans: Mapping[str, Plan],
) -> Procedure[dict[str, Outcome[dict[str, Value]]]]:
    """What channels hold; nothing of one where something was never written and cannot be read."""
    return together({at: _snapshot(at) for at in plans})


def baths(plans: Mapping[str, DeepPlan]) -> Procedure[dict[tuple[str, str], float]]:
    """What the baths that a deep tuning may move are told to hold, by instrument and parameter."""
    places = dict.fromkeys(plan.setpoint for plan in plans.values() if bath_of(plan) is not None)
    found = {}
    for place in places:
        assert place is not None  # or it were no bath
        found[place] = (yield from get(*place)).number
    return found


def restore(
    wanted: Mapping[str, Mapping[str, Value]],
    plans: Mapping[str, DeepPlan],
    *,
    deep: bool = False,
    baths: Mapping[tuple[str, str], float] = {},
) -> Procedure[dict[str, Outcome[dict[str, Value]]]]:
    """Bring channels back to what they held once, at once; one that fails is as it was.

    After a deep tuning also the generators at their heaters are off, and `baths` told what they
    were; a lane "" tells of those.
    """
    lanes = {
        at: undone_if_failed(_restore(at, plans[at], values, deep=deep))
        for at, values in wanted.items()
    }
    return together(lanes | ({"": _restore_baths(baths)} if baths else {}))


def expected_steps(plan: DeepPlan, *, deep: bool = False) -> list[tuple[str, str]]:
    """What would be done, for a dry run: the steps with what they may drive."""
    least, most = plan.squid_bias_a
    return [
        ("identify", "asks what is there; writes nothing that can be read"),
        ("v-phi", f"loop open, no TES bias; SQUID bias {least:g} to {most:g} A; all of the flux"),
        ("lock point", "loop open; offset and flux of the steepest slope"),
        ("lock", "closes the loop, resets it"),
        ("proof", "flux up to one quantum through the loop; resets it"),
        ("iv", f"TES bias up to {plan.tes_normal_a:g} A; feedback {plan.sweep_feedback_ohm:g} ohm"),
        *(_deep_steps(plan) if deep else []),
        ("bias point", f"TES bias where R is {plan.tes_share:g} of the normal resistance"),
        *([("dI/dV", _wave(plan))] if plan.bias is not None else []),
        ("noise", "takes samples"),
        ("verify", "asks everything again"),
    ]


def _deep_steps(plan: DeepPlan) -> list[tuple[str, str]]:
    steps = []
    if (bath := bath_of(plan)) is not None:
        where = ".".join(bath.setpoint)
        steps.append((TC, f"{where} up to {max(plan.baths_k):g} K and back; TES bias as in iv"))
    if plan.heater is not None:
        most_w = max(plan.map_heater_w)
        pulses = f"pulses of {PULSES.energy_ev:g} eV above up to {most_w:g} W"
        steps.append((MAP, f"{plan.heater}: {pulses}; TES bias as in iv"))
    return steps


def _wave(plan: Plan) -> str:
    return f"{plan.bias}: a square wave of {WAVE.bias_pp_a:g} A of bias at {WAVE.frequency_hz:g} Hz"


def _tune(at: str, plan: DeepPlan, deep: Deep | None = None) -> Procedure[Channel]:
    tuned = yield from squid.tune_squid(at, plan)
    meant = yield from hold(at, tuned.identified.offered)
    if tuned.identified.offered.has("tes_bias"):
        sensor, curve = yield from measure_sensor(at, plan, tuned)
        aim = (yield from _look_deeper(sensor, plan, curve, deep)) if deep else None
        yield from settle_sensor(sensor, plan, curve, tuned, aim)
        meant = yield from hold(at, tuned.identified.offered)
    held = yield from squid.verify(at, tuned.locked, meant)
    return Channel(tuned.identified.held, held)


def _look_deeper(sensor: Sensor, plan: DeepPlan, curve: Iv, deep: Deep) -> Procedure[Aim | None]:
    """Tc and G where there is a bath, and the best point where there is a heater."""
    if deep.bath is not None and bath_of(plan) is not None:
        yield from conductance(sensor, plan, deep.bath)
    if plan.heater is None:
        return None
    return (yield from best_point(sensor, plan, curve))


def _snapshot(at: str) -> Procedure[dict[str, Value]]:
    offered = yield from offers(at)
    try:
        return (yield from hold(at, offered))
    except StoppedError:
        raise
    except ScheeliteError:
        return {}


def _restore_baths(baths: Mapping[tuple[str, str], float]) -> Procedure[dict[str, Value]]:
    held: dict[str, Value] = {}
    for place, kelvin in baths.items():
        held[".".join(place)] = (yield from put(*place, kelvin)).number
    return held


def _restore(
    at: str, plan: DeepPlan, wanted: Mapping[str, Value], *, deep: bool
) -> Procedure[dict[str, Value]]:
    yield from begin(at, "restore", "every value held as it was kept")
    if plan.bias is not None:
        yield from ask(Silence(at, "bias"), object)  # a tuning that was killed may have left it on
    if deep and plan.heater is not None:
        yield from ask(Silence(at, "heater"), object)
    held = yield from restore_channel(at, wanted)
    other = [name for name, value in wanted.items() if held.get(name) != value]
    found = "" if not other else f"{other[0]} at {held.get(other[0])!r}"
    values = {name: value for name, value in held.items() if isinstance(value, float)}
    yield from end(at, "restore", passed=not other, values=values, found=found)
    if other:
        raise StepFailedError(
            f"{at}, restore: expected {other[0]} {wanted[other[0]]!r}, found {held[other[0]]!r}"
        )
    return held
