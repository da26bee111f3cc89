"""`scheelite calibrate`: points of known energy in runs make a curve per channel; energies."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daq.errors import CheckError, FormatError, StorageError, UsageError
from daq.model.batch import Rows
from daq.model.record import PULSES, Cause, Flag, mask_of
from daq.readout.calibration import FOREVER, Calibration, Curve, Peaks, find_points, fit
from daq.services.gains import divided
from daq.store.reader import Run, open_run

F64 = npt.NDArray[np.float64]
HEATER = mask_of((Cause.EXTERNAL,))
BINS_PER_SIGMA = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Energies [eV] that pulses of the runs have: of lines, and of the heater's ladder."""

    lines_ev: Sequence[float] = ()
    heater_ev: Sequence[float] = ()
    bin_counts: float | None = None  # of the histograms; None: by the noise


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The curve of a channel; or why there is none."""

    channel: str
    curve: Curve | None
    problem: str = ""


def calibrate_runs(
    paths: Sequence[Path], only: str | None, known: Known, to_ns: int = FOREVER
) -> list[Calibrated]:
    """Curves valid from the first run's start, or its first record, on; CheckError where no
    channel has one."""
    if not known.lines_ev and not known.heater_ev:
        raise UsageError("expected the energy of a line or of heater pulses, found none")
    runs = [open_run(path) for path in paths]
    names = [c.name for c in runs[0].channels if c.recorded and c.mass_g]
    if only is not None and only not in names:
        raise UsageError(f"expected one of the targets {', '.join(names)}, found {only!r}")
    found = [_calibrate(runs, name, known, to_ns) for name in ([only] if only else names)]
    if not any(one.curve for one in found):
        told = "; ".join(f"{one.channel}: {one.problem}" for one in found)
        raise CheckError(f"no channel could be calibrated: {told}")
    return found


def calibrate_file(
    runs: Sequence[Path], out: Path, known: Known, *, channel: str | None = None
) -> list[Calibrated]:
    """Calibrate by runs, and write the curves into a file, whose other times are kept."""
    found = calibrate_runs(runs, channel, known)
    calibration = read_calibration(out) if out.exists() else Calibration([])
    for one in found:
        if one.curve is not None:
            calibration = calibration.with_curve(one.curve)
    write_calibration(out, calibration)
    return found


def _calibrate(runs: Sequence[Run], name: str, known: Known, to_ns: int) -> Calibrated:
    table = np.concatenate([run.records(name)[0] for run in runs])
    quantity = quantity_of(table)
    how = Peaks(known.bin_counts or _bin(table, quantity))
    heater = (table["flags"] & Flag.HEATER > 0) | (table["causes"] & HEATER > 0)
    pulse = (table["causes"] & PULSES > 0) & (table["flags"] == 0) & ~heater
    try:
        points = []
        for energies, chosen in ((known.lines_ev, pulse), (known.heater_ev, heater)):
            if energies:
                heights = table[quantity][chosen].astype(np.float64)
                points += find_points(heights[np.isfinite(heights)], energies, how)
        told = _provenance(runs, known, how)
        # the records' clock is the digitizer's: of a recording, or a bench, it is not the host's
        from_ns = min(runs[0].start_ns, int(table["t_ns"].min()))
        curve = fit(name, quantity, points, from_ns=from_ns, to_ns=to_ns, provenance=told)
    except CheckError as error:
        return Calibrated(name, None, str(error))
    return Calibrated(name, curve)


def quantity_of(table: Rows) -> str:
    """The column that heights are taken from: the filter's where most pulses have one."""
    pulses = table[table["causes"] & PULSES > 0]
    filtered = np.isfinite(pulses["amplitude"]).mean() if len(pulses) else 0.0
    return "amplitude" if filtered > 0.5 else "height"


def _bin(table: Rows, quantity: str) -> float:
    """Half of the noise, that of single samples where no filter says better; a count at least."""
    noise = float(np.median(table["baseline_rms"])) if len(table) else 1.0
    return max(noise / BINS_PER_SIGMA / (8 if quantity == "amplitude" else 1), 1.0)


def _provenance(runs: Sequence[Run], known: Known, how: Peaks) -> dict[str, str]:
    return {
        "runs": ", ".join(f"{run.number} of {run.name}" for run in runs),
        "recorded by": ", ".join(sorted({run.software for run in runs})),
        "calibrated by": f"scheelite {importlib.metadata.version('scheelite')}",
        "lines": ", ".join(f"{e:g} eV" for e in known.lines_ev),
        "heater": ", ".join(f"{e:g} eV" for e in known.heater_ev),
        "bins": f"{how.bin_counts:g} counts",
    }


# --- files and energies ---


def read_calibration(path: Path) -> Calibration:
    """FormatError with the place where there is none."""
    try:
        return Calibration.from_json(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: expected a calibration: {error.strerror}") from error
    except (UsageError, CheckError) as error:
        raise FormatError(f"{path}: {error}") from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """All or nothing."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(calibration.to_json() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: expected to write it: {error.strerror}") from error


def run_energies(run: Run, channel: str) -> F64:
    """Energies [eV] of a channel's records by the calibration that the run was taken with.

    Corrected by the gains that were in force, where heater pulses followed them.
    """
    calibration = Calibration.from_json(run.calibration.encode()) if run.calibration else None
    table = run.records(channel)[0]
    if calibration is None:
        return np.full(len(table), np.nan)
    return energies_of(calibration, channel, divided(table, gains_of(run, channel, table)))


def gains_of(run: Run, channel: str, table: Rows) -> F64:
    """The gain that was in force at each of a channel's RECORD rows; 1 where none was."""
    found = [i for i in run.inputs() if i["input"] == "gain" and channel in i["gains"]]
    since = np.array([i["at"][channel] for i in found], np.int64)
    values = np.array([1.0, *(i["gains"][channel][0] for i in found)])
    return np.asarray(values[np.searchsorted(since, table["trigger"], side="right")])


def energies_of(calibration: Calibration, channel: str, table: Rows) -> F64:
    """Energies [eV] of RECORD rows by the curves valid at their times; else not-a-number."""
    heights: dict[str, npt.ArrayLike] = {
        "amplitude": table["amplitude"],
        "height": table["height"],
    }
    return calibration.energies(channel, table["t_ns"], heights)
