"""The guided whole: from a cold, unbiased channel to a sensor that works, step by step.

identify, v-phi, lock point, lock, proof; for electronics that bias a TES also iv, bias point, noise
and, with a generator at the bias, dI/dV; verify. Each begins with what is expected of it and ends
with what was found. A channel that fails is left as it was found, and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daq.errors import ScheeliteError
from daq.readout import squid
from daq.readout.electronics import hold
from daq.readout.electronics import restore as restore_channel
from daq.readout.procedures import (
    Outcome,
    ask,
    begin,
    end,
    offers,
    together,
    undone_if_failed,
)
from daq.readout.requests import Procedure, Silence, StoppedError, Value
from daq.readout.sensor_steps import WAVE, Plan, tune_sensor
from daq.readout.steps import StepFailedError

SQUID_STEPS = ("identify", "v-phi", "lock point", "lock", "proof")
TES_STEPS = ("iv", "bias point", "dI/dV", "noise")
STEPS = (*SQUID_STEPS, *TES_STEPS, "verify")


@dataclass(frozen=True, slots=True)
class Channel:
    """What tuning made of a channel: what it held before, and what it holds now."""

    before: Mapping[str, Value]
    held: Mapping[str, Value]


def tune(plans: Mapping[str, Plan]) -> Procedure[dict[str, Outcome[Channel]]]:
    """Several channels at once."""
    return together({at: undone_if_failed(_tune(at, plan)) for at, plan in plans.items()})


def snapshot(
    plans: Mapping[str, Plan],
) -> Procedure[dict[str, Outcome[dict[str, Value]]]]:
    """What channels hold; nothing of one where something was never written and cannot be read."""
    return together({at: _snapshot(at) for at in plans})


def restore(
    wanted: Mapping[str, Mapping[str, Value]], plans: Mapping[str, Plan]
) -> Procedure[dict[str, Outcome[dict[str, Value]]]]:
    """Bring channels back to what they held once, at once; one that fails is as it was."""
    return together(
        {at: undone_if_failed(_restore(at, plans[at], values)) for at, values in wanted.items()}
    )


def expected_steps(plan: Plan) -> list[tuple[str, str]]:
    """What would be done, for a dry run: the steps with what they may drive."""
    least, most = plan.squid_bias_a
    return [
        ("identify", "asks what is there; writes nothing that can be read"),
        ("v-phi", f"loop open; SQUID bias {least:g} to {most:g} A; the whole range of the flux"),
        ("lock point", "loop open; offset and flux of the steepest slope"),
        ("lock", "closes the loop, resets it"),
        ("proof", "flux up to one quantum through the loop; resets it"),
        ("iv", f"TES bias up to {plan.tes_normal_a:g} A; feedback {plan.sweep_feedback_ohm:g} ohm"),
        ("bias point", f"TES bias where R is {plan.tes_share:g} of the normal resistance"),
        *([("dI/dV", _wave(plan))] if plan.bias is not None else []),
        ("noise", "takes samples"),
        ("verify", "asks everything again"),
    ]


def _wave(plan: Plan) -> str:
    return f"{plan.bias}: a square wave of {WAVE.bias_pp_a:g} A of bias at {WAVE.frequency_hz:g} Hz"


def _tune(at: str, plan: Plan) -> Procedure[Channel]:
    tuned = yield from squid.tune_squid(at, plan)
    meant = yield from hold(at, tuned.identified.offered)
    if tuned.identified.offered.has("tes_bias"):
        yield from tune_sensor(at, plan, tuned)
        meant = yield from hold(at, tuned.identified.offered)
    held = yield from squid.verify(at, tuned.locked, meant)
    return Channel(tuned.identified.held, held)


def _snapshot(at: str) -> Procedure[dict[str, Value]]:
    offered = yield from offers(at)
    try:
        return (yield from hold(at, offered))
    except StoppedError:
        raise
    except ScheeliteError:
        return {}


def _restore(at: str, plan: Plan, wanted: Mapping[str, Value]) -> Procedure[dict[str, Value]]:
    yield from begin(at, "restore", "every value held as it was kept")
    if plan.bias is not None:
        yield from ask(Silence(at, "bias"), object)  # a tuning that was killed may have left it on
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
