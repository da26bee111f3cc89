"""What salts say of the triggers of a run, channel by channel."""

from __future__ import annotations

from daq.model.batch import Rows
from daq.readout.efficiency import Share, half_point_ev, share


def counted(salts: Rows, channel: int) -> dict[float, tuple[int, int]]:
    """By energy [eV]: those of a channel that could be found, and those that were."""
    of = salts[(salts["channel"] == channel) & (salts["counts"] > 0)]
    found: dict[float, tuple[int, int]] = {}
    for energy in sorted(set(of["energy_ev"].tolist())):
        one = of[of["energy_ev"] == energy]
        found[energy] = len(one), int(one["found"].sum())
    return found


def shares(salts: Rows, channel: int) -> list[Share]:
    """By energy, with their intervals; empty for a channel without salts."""
    return [share(energy, *counts) for energy, counts in counted(salts, channel).items()]


def sentence(found: list[Share]) -> str:
    """In words: "50 % at 14.6 eV, by 420 salts"."""
    placed, half_ev = sum(one.placed for one in found), half_point_ev(found)
    if half_ev is None:
        each = ", ".join(f"{one.energy_ev:g} eV {one.found} of {one.placed}" for one in found)
        return f"no 50 % point among {placed} salts: {each}"
    return f"50 % at {half_ev:.1f} eV, by {placed} salts"
