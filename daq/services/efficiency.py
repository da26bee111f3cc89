"""What salts say of a channel's triggers, as the state and the report tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from daq.model.channel import TriggerSettings
from daq.readout.efficiency import Share, half_point_ev, share
from daq.report.efficiency import counted as salts_by_energy
from daq.report.efficiency import sentence
from daq.store.reader import Run

if TYPE_CHECKING:  # half a second of every command that shows a run
    from daq.acquire.filters import Filter


# Any: JSON
def efficiency_of(salts: Mapping[float, tuple[int, int]]) -> dict[str, Any] | None:
    """By energy: those that could be found and those that were; None without salts."""
    if not salts:
        return None
    shares = [share(energy, *salts[energy]) for energy in sorted(salts)]
    return {"half_ev": half_point_ev(shares), "curve": [asdict(one) for one in shares]}


# Any: JSON
def efficiencies(run: Run) -> dict[str, dict[str, Any]]:
    """By channel, for those of a run that were salted."""
    rows = run.salts()
    found = {
        channel.name: efficiency_of(salts_by_energy(rows, i))
        for i, channel in enumerate(run.channels)
    }
    return {name: one for name, one in found.items() if one is not None}


DAY_S = 86_400.0


# Any: JSON
def threshold_of(
    triggers: Sequence[TriggerSettings],
    one: Filter | None,
    salts: Mapping[float, tuple[int, int]],
) -> dict[str, Any] | None:
    """What salts have shown and noise predicts of the triggers in force; None where neither does.

    {"half_ev", "salts" that could be found, "noise_per_day" by Rice's formula for the matched
    trigger, "sigma_ev" where the filter knows it, "text": all of it in words}.
    """
    found = efficiency_of(salts)
    level = next((t.threshold for t in triggers if t.kind == "matched"), None)
    noise = one.noise_rate_hz(level) * DAY_S if one is not None and level is not None else None
    if found is None and noise is None:
        return None
    return {
        "half_ev": found["half_ev"] if found else None,
        "salts": sum(row["placed"] for row in found["curve"]) if found else 0,
        "noise_per_day": noise,
        "sigma_ev": one.sigma_ev if one is not None else None,
        "text": _in_words(found, noise),
    }


# Any: what `efficiency_of` gives
def _in_words(found: dict[str, Any] | None, noise: float | None) -> str:
    """As "50 % at 14.6 eV, by 420 salts, 71 noise triggers per day"."""
    parts = [efficiency_text(found)] if found else ["not salted"]
    parts += [f"{noise:.3g} noise triggers per day"] if noise is not None else []
    return ", ".join(parts)


# Any: what `efficiency_of` gives
def efficiency_text(found: dict[str, Any]) -> str:
    """In words: "50 % at 14.6 eV, by 420 salts"."""
    return sentence([Share(**row) for row in found["curve"]])
