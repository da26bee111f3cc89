"""From the config's [kinds.K.guard] to what the guard of a channel looks for."""

from __future__ import annotations

from typing import Any

from daq.acquire.decimate import reach
from daq.acquire.guardkernels import GRID
from daq.acquire.pipeline import Guarded
from daq.errors import UsageError
from daq.model.channel import PIECES, Guarding
from daq.services.recording import Recording
from daq.settings.sections import Guard
from daq.wire.schemas import RawReply, StreamHello

LEAST_PHI0 = 50.0  # counts: less is no step that noise could not make


def guarding_of(guard: Guard, hello: StreamHello | RawReply, decimation: int) -> Guarding:
    """Times in samples, volts in counts of the digitizer; UsageError where a quantum is too small.

    A window is a whole number of pieces, each a whole number of the guard's blocks; what counts as
    frozen is at least two blocks long.
    """
    rate_hz = hello.rate_hz
    phi0 = (guard.phi0_v or 0.0) / hello.volts_per_count
    if guard.phi0_v is not None and phi0 < LEAST_PHI0:
        raise UsageError(
            f"guard.phi0_v: expected at least {LEAST_PHI0:g} counts, which "
            f"are {LEAST_PHI0 * hello.volts_per_count:g} V, found {guard.phi0_v:g} V"
        )
    noise = guard.noise_counts or (0.0, 65536.0)
    baseline = guard.baseline_counts or (-65536.0, 65536.0)
    banded = guard.noise_counts or guard.baseline_counts
    unit = PIECES * GRID
    return Guarding(
        phi0=phi0,
        tolerance=guard.tolerance_phi0,
        span=max(1, round(guard.step_s * rate_hz)),
        hold=max(round(guard.hold_s * rate_hz), 4),
        settle=max(round(guard.settle_s * rate_hz), 1),
        lead=reach(decimation),
        storm=guard.storm,
        frozen=max(round(guard.frozen_s * rate_hz), 2 * GRID) if guard.frozen_s else 0,
        rail_low=round(guard.rails_counts[0]),
        rail_high=round(guard.rails_counts[1]),
        window=max(round(guard.window_s * rate_hz / unit), 1) * unit if banded else 0,
        noise_low=noise[0],
        noise_high=noise[1],
        baseline_low=baseline[0],
        baseline_high=baseline[1],
    )


# Any: a part of the core's state, as its module says
def guard_table(recording: Recording) -> dict[str, dict[str, Any]]:
    """How the guarded channels of a run stand."""
    return {
        name: _told(recording, name, guarded) for name, guarded in recording.told.guards().items()
    }


def _told(recording: Recording, name: str, guarded: Guarded) -> dict[str, Any]:
    channel = next(c for c in recording.facts.channels if c.name == name)
    fed = recording.told.fed(channel.digitizer)
    start = recording.told.starts()[channel.digitizer]
    hours = (fed - start) / channel.sample_rate_hz / 3600
    return {
        "jumps": guarded.n_jumps,
        "jumps_per_h": guarded.n_jumps / hours if hours else 0.0,
        "quanta": guarded.quanta,
        "hits": dict(recording.totals.hits.get(name, {})),
        "standing": guarded.kind,
        "for_s": (fed - guarded.since) / channel.sample_rate_hz if guarded.kind else 0.0,
    }
