"""What salts say of a channel's triggers, as the state and the report tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from daq.model.batch import Rows
from daq.readout.efficiency import half_point_ev, share
from daq.store.reader import Run


# Any: JSON
def efficiency_of(salts: Mapping[float, tuple[int, int]]) -> dict[str, Any] | None:
    """By energy: those that could be found and those that were; None without salts."""
    if not salts:
        return None
    shares = [share(energy, *salts[energy]) for energy in sorted(salts)]
    return {"half_ev": half_point_ev(shares), "curve": [asdict(one) for one in shares]}


def salts_by_energy(rows: Rows, channel: int) -> dict[float, tuple[int, int]]:
    """The same counts from SALT rows of a run."""
    of = rows[(rows["channel"] == channel) & (rows["counts"] > 0)]
    found: dict[float, tuple[int, int]] = {}
    for energy in sorted(set(of["energy_ev"].tolist())):
        one = of[of["energy_ev"] == energy]
        found[energy] = len(one), int(one["found"].sum())
    return found


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
    placed = sum(row["placed"] for row in found["curve"])
    if found["half_ev"] is None:
        shares = ", ".join(
            f"{row['energy_ev']:g} eV {row['found']} of {row['placed']}" for row in found["curve"]
        )
        return f"no 50 % point among {placed} salts: {shares}"
    return f"50 % at {found['half_ev']:.1f} eV, by {placed} salts"
