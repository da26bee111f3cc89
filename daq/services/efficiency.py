"""What salts say of a channel's triggers, as the state and the report tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from daq.readout.efficiency import Share, half_point_ev, share
from daq.report.efficiency import counted as salts_by_energy
from daq.report.efficiency import sentence
from daq.store.reader import Run


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


# Any: what `efficiency_of` gives
def efficiency_text(found: dict[str, Any]) -> str:
    """In words: "50 % at 14.6 eV, by 420 salts"."""
    return sentence([Share(**row) for row in found["curve"]])
