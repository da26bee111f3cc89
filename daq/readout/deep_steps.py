"""What a deep tuning measures between the IV and the bias point: Tc and G, and the best point.

The bath is everybody's: one lane of its own brings it from one temperature to the next, and the
sensors meet there. docs/howto/tune.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from daq.errors import CheckError, UsageError
from daq.readout import characterize, smallsignal, thermal
from daq.readout.characterize import Bath, NotColdError, Sensor, settle_bath
from daq.readout.circuit import Estimate
from daq.readout.iv import Iv
from daq.readout.procedures import AT_BATHS, begin, end, get, meet, put, putting_back, wait_stable
from daq.readout.requests import Get, Picture, Procedure
from daq.readout.sensor_steps import IV_SETTLE_S, Aim, Plan, bias_at_share
from daq.readout.smallsignal import Pulses
from daq.readout.steps import fail, xy
from daq.readout.workingpoint import Candidate, Choice

TC, MAP = "Tc and G", "working point"
IV_S = 0.1
BACK_K = 100e-6  # of the bath, before and after
SURE_TC_K, SURE_G = 0.2e-3, 0.2  # uncertainties that pass
PULSES = Pulses()


class DeepPlan(Plan, Protocol):
    """What a deep tuning must know besides."""

    @property
    def heater(self) -> object | None:
        """The generator at the heater; None where there is none, and then no map."""

    @property
    def thermometer(self) -> tuple[str, str] | None:
        """Where the bath is read; None where nobody knows, and then neither Tc nor G."""

    @property
    def setpoint(self) -> tuple[str, str] | None:
        """Where it is told."""

    @property
    def baths_k(self) -> tuple[float, ...]:
        """Baths for Tc and G."""

    @property
    def bath_max_k(self) -> float:
        """No procedure goes beyond it."""

    @property
    def bath_warmer_k2(self) -> float:
        """Square of the plate's temperature above that of the thermometer."""

    @property
    def map_shares(self) -> tuple[float, ...]:
        """Of the normal resistance, to compare."""

    @property
    def map_heater_w(self) -> tuple[float, ...]:
        """Powers of the generator at the heater, to compare."""


def bath_of(plan: DeepPlan) -> Bath | None:
    """Where the bath is read and told; None where [detectors] does not say."""
    if plan.thermometer is None or plan.setpoint is None:
        return None
    return Bath(
        setpoint=plan.setpoint,
        thermometer=plan.thermometer,
        most_k=plan.bath_max_k,
        warmer_k2=plan.bath_warmer_k2,
    )


@dataclass(slots=True)
class SharedBath:
    """The bath between its own lane and those of the sensors that stand on it."""

    at: str
    bath: Bath
    baths_k: tuple[float, ...]
    sensors: int = 0  # that need it now
    held_k: Estimate = field(default_factory=lambda: Estimate(0.0, 0.0))
    problem: CheckError | None = None

    def lane(self) -> Procedure[None]:
        """From one temperature to the next as soon as all sensors are unbiased, and back."""
        yield from meet(self.at, AT_BATHS)
        if not self.sensors:
            return
        before_k = (yield from get(*self.bath.thermometer)).number
        yield from putting_back(self._baths())
        if not self.problem:
            yield from self._back(before_k)
        yield from meet(self.at, self.stages[-1])

    @property
    def stages(self) -> range:
        """Where all meet: before and at each bath, after the last, and when it is as it was."""
        return range(AT_BATHS, AT_BATHS + 2 * len(self.baths_k) + 2)

    def _baths(self) -> Procedure[None]:
        for k, target_k in enumerate(sorted(self.baths_k)):
            if k:
                yield from meet(self.at, self.stages[2 * k])
            try:
                self.held_k = yield from settle_bath(self.at, self.bath, target_k)
            except CheckError as error:  # each sensor's own step says it
                self.problem = error
            yield from meet(self.at, self.stages[2 * k + 1])
            if self.problem or not self.sensors:
                return
        yield from meet(self.at, self.stages[-2])

    def _back(self, before_k: float) -> Procedure[None]:
        """Wait until it is as cold as it was: what follows is measured there."""
        settled = yield from wait_stable(
            Get(*self.bath.thermometer),
            target=before_k,
            tolerance=BACK_K,
            dwell_s=self.bath.dwell_s,
            timeout_s=self.bath.timeout_s,
        )
        if not settled.stable:
            self.problem = NotColdError(
                f"the bath did not come back: expected {before_k * 1e3:.4g} mK as before, found "
                f"{settled.value * 1e3:.4g} mK after {settled.seconds:g} s"
            )


def shared_bath(plans: Mapping[str, DeepPlan]) -> SharedBath | None:
    """The bath of those plans that have one; UsageError where they do not agree."""
    having = {at: bath for at, plan in plans.items() if (bath := bath_of(plan)) is not None}
    if not having:
        return None
    first = next(iter(having))
    for at, bath in having.items():
        if bath != having[first] or plans[at].baths_k != plans[first].baths_k:
            raise UsageError(
                f"expected one bath for all that is tuned deeply at once, found that of {at} to "
                f"differ from that of {first}"
            )
    return SharedBath(first, having[first], plans[first].baths_k)


def conductance(sensor: Sensor, plan: DeepPlan, shared: SharedBath) -> Procedure[None]:
    """Tc and G by IVs at the baths to which the shared one is brought."""
    expected = (
        f"Tc known within {SURE_TC_K * 1e3:g} mK and G within {SURE_G:.0%}, by IVs at "
        f"{', '.join(f'{k * 1e3:.4g}' for k in sorted(shared.baths_k))} mK"
    )
    yield from begin(sensor.at, TC, expected)
    shared.sensors += 1
    try:
        found, curves = yield from putting_back(_at_baths(sensor, plan, shared))
    except CheckError as error:
        yield from fail(sensor.at, TC, expected, str(error))
        raise AssertionError from error  # `fail` raises
    finally:
        shared.sensors -= 1
    values = {
        "tc_k": found.tc_k.value,
        "tc_sigma_k": found.tc_k.sigma,
        "g_w_per_k": found.g_w_per_k.value,
        "g_sigma_w_per_k": found.g_w_per_k.sigma,
        "n": found.n.value,
        "n_sigma": found.n.sigma,
    }
    sure = found.tc_k.sigma <= SURE_TC_K
    sure = sure and found.g_w_per_k.sigma <= SURE_G * found.g_w_per_k.value
    pictures = [_baths_picture(curves)]
    if not sure:
        seen = f"Tc {found.tc_k.value * 1e3:.4g} +- {found.tc_k.sigma * 1e3:.1g} mK, G "
        seen += f"{found.g_w_per_k.value:.3g} +- {found.g_w_per_k.sigma:.1g} W/K"
        yield from fail(sensor.at, TC, expected, seen, pictures, values)
    yield from end(sensor.at, TC, passed=True, values=values, pictures=pictures)


def _at_baths(
    sensor: Sensor, plan: DeepPlan, shared: SharedBath
) -> Procedure[tuple[thermal.Conductance, list[tuple[Estimate, Iv]]]]:
    found: list[tuple[Estimate, Iv]] = []
    top_a, bottom_a = plan.tes_sweep_a
    for k in range(len(shared.baths_k)):
        yield from put(sensor.at, "tes_bias", 0.0)
        yield from meet(sensor.at, shared.stages[2 * k])  # until nobody warms the bath
        yield from meet(sensor.at, shared.stages[2 * k + 1])  # until it is there
        if shared.problem:
            raise shared.problem
        curve = yield from characterize.iv_of_series(
            sensor, found, top_a, bottom_a, IV_S, IV_SETTLE_S
        )
        found.append((shared.held_k, curve))
    for stage in shared.stages[-2:]:
        yield from meet(sensor.at, stage)
    if shared.problem:
        raise shared.problem
    return thermal.fit(thermal.power_points(found)), found


def best_point(sensor: Sensor, plan: DeepPlan, curve: Iv) -> Procedure[Aim | None]:
    """The best of a map of bias and heater, by pulses and noise; where to bias by it.

    The heater is off afterwards: what it promises with heater is told, and not made.
    """
    expected = "a point of the map in the transition, with a resolution"
    yield from begin(sensor.at, MAP, expected)
    feedback_ohm = (yield from get(sensor.at, "feedback")).number
    try:
        biases_a = [bias_at_share(curve, each, plan.shunt_ohm) for each in plan.map_shares]
        choice, candidates = yield from smallsignal.search_working_point(
            sensor, curve, biases_a, plan.map_heater_w, feedback_ohm=feedback_ohm, pulses=PULSES
        )
    except CheckError as error:
        yield from fail(sensor.at, MAP, expected, str(error))
        raise AssertionError from error  # `fail` raises
    unheated = [each for each in candidates if each.usable and each.heater_w == 0]
    best = min(unheated, key=_sigma_ev) if unheated else None
    values = _choice_values(choice, len(candidates))
    pictures = [_map_picture(candidates)]
    yield from end(sensor.at, MAP, passed=True, values=values, pictures=pictures)
    return None if best is None else Aim(best.bias_a, best.share)


def _sigma_ev(candidate: Candidate) -> float:
    return candidate.sigma_ev.value if candidate.sigma_ev else np.inf


def _choice_values(choice: Choice, n: int) -> dict[str, float]:
    best = choice.best
    assert best.sigma_ev is not None  # what is chosen has it
    return {
        "best_bias_a": best.bias_a,
        "best_heater_w": best.heater_w,
        "best_share": best.share,
        "sigma_ev": best.sigma_ev.value,
        "sigma_of_sigma_ev": best.sigma_ev.sigma,
        "n_points": float(n),
        "n_as_good": float(len(choice.equals)),
        "n_refused": float(len(choice.refused)),
    }


def _map_picture(candidates: list[Candidate]) -> Picture:
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for heater_w in dict.fromkeys(each.heater_w for each in candidates):
        chosen = [each for each in candidates if each.usable and each.heater_w == heater_w]
        curves[f"{heater_w * 1e15:g} fW"] = (
            [each.bias_a * 1e6 for each in chosen],
            [_sigma_ev(each) for each in chosen],
        )
    return Picture("promised resolution", "bias [uA]", "sigma [eV]", curves, tuple(curves))


def _baths_picture(curves: list[tuple[Estimate, Iv]]) -> Picture:
    return Picture(
        "IVs at several baths",
        "bias [uA]",
        "current [uA]",
        {
            f"{bath.value * 1e3:.4g} mK": xy(curve.bias_a * 1e6, curve.current_a * 1e6)
            for bath, curve in curves
        },
    )
