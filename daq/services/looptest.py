"""A flux through a loop that was locked anew: the output must follow it, and come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daq.readout.requests import Offered
from daq.readout.squid_lock import RETURN_PHI0
from daq.services.detectorwires import Command, DetectorWires

STEP_PHI0 = 0.25  # far above pulses and noise, too little to lose a quantum
TOLERANCE = 0.1  # of the step, that the design and a median of pulses leave
NEEDED = ("flux", "feedback")


# Any: the answer of an instrument is JSON
def doubt(
    at: str,
    wires: DetectorWires,
    call: Callable[[Command], Mapping[str, Any]],
    output_v: Callable[[], float],
) -> str:
    """What the test says against a lock, or ""; also of electronics that have no test signal.

    `output_v` is the output from now on. The flux is as it was afterwards, whatever happens.
    """
    offered = wires.offered(at)
    if not all(offered.has(name) for name in NEEDED) or offered.values["flux"].source != "read":
        return ""
    period_a = wires.detectors[at].feedback_a_per_phi0
    flux, feedback = (_number(wires, at, name, call) for name in ("flux", "feedback"))
    meant_v = feedback * period_a * STEP_PHI0
    before_v = output_v()
    try:
        call(wires.wire(at, "flux").write(_stepped(flux, period_a, offered)))
        moved_v = output_v() - before_v
    finally:
        call(wires.wire(at, "flux").write(flux))
    left_v = output_v() - before_v
    if abs(abs(moved_v) / meant_v - 1) > TOLERANCE:
        return f"the output moves by {moved_v:.3g} V where a test flux makes it {meant_v:.3g} V"
    if abs(left_v) > RETURN_PHI0 * feedback * period_a:
        return f"the output comes back {left_v:.3g} V away after a test flux"
    return ""


def _stepped(flux: float, period_a: float, offered: Offered) -> float:
    """In the direction in which there is room."""
    most, step = offered.values["flux"].maximum, STEP_PHI0 * period_a
    return flux - step if most is not None and flux + step > most else flux + step


def _number(
    wires: DetectorWires, at: str, name: str, call: Callable[[Command], Mapping[str, Any]]
) -> float:
    wire = wires.wire(at, name)
    return wire.held(call(wire.read())).number
