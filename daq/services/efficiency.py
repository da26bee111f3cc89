"""What salts say of a channel's triggers, as the state and the report tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from daq.model.batch import Rows
from daq.readout.efficiency import half_point_ev, share


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
