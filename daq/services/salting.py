"""From the config's [kinds.K.salting] to what a channel is salted with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from daq.errors import UsageError
from daq.model.channel import Salting
from daq.readout.calibration import Calibration
from daq.services.calibrate import read_calibration
from daq.services.filterfile import read_filters
from daq.settings.loader import Settings
from daq.settings.sections import Experiment
from daq.settings.sections import Salting as Section


def calibration_of(settings: Settings) -> Calibration:
    """The calibration that the config names, beside it; an empty one where it names none."""
    name = settings.section(Experiment).calibration
    if not name:
        return Calibration([])
    return read_calibration(settings.path.absolute().parent / name)


def salting_of(
    section: Section, channel: str, record_rate_hz: float, pretrigger: int, home: Path
) -> Salting:
    """UsageError where the files have no filter or no energies for the channel.

    Files are relative to `home`. Energies become heights by the channel's newest curve.
    """
    one = read_filters(home / section.filters).get(channel)
    if one is None:
        raise UsageError(f"{section.filters}: expected a filter of {channel}, found none")
    if one.rate_hz != record_rate_hz:
        raise UsageError(
            f"{section.filters}: expected a filter of {channel} at {record_rate_hz:g} Hz, "
            f"found {one.rate_hz:g} Hz"
        )
    curves = [
        c for c in read_calibration(home / section.calibration).curves if c.channel == channel
    ]
    if not curves:
        raise UsageError(f"{section.calibration}: expected a curve of {channel}, found none")
    heights = curves[-1].counts(np.array(section.energies_ev)) * one.sign
    rise = int(np.argmax(one.template)) - one.pretrigger
    return Salting(
        rate_hz=section.rate_hz,
        energies_ev=tuple(section.energies_ev),
        heights=tuple(heights.tolist()),
        template=one.template.astype("<f4").tobytes(),
        pretrigger=one.pretrigger,
        near=min(max(2 * rise, 1), pretrigger),
    )
