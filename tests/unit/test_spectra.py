"""Live spectra: in eV where calibrated, without salts."""

from __future__ import annotations

import numpy as np

from daq.model.record import RECORD, Cause, Flag, mask_of, plain
from daq.readout.calibration import Calibration, Point, fit
from daq.services.spectra import BINS, Spectra

EDGE = mask_of((Cause.EDGE,))


def rows(heights: list[float], causes: int = EDGE, flags: int = 0):
    table = np.zeros(len(heights), plain(RECORD))
    table["height"], table["causes"], table["flags"] = heights, causes, flags
    table["amplitude"], table["t_ns"] = np.nan, 10
    return table


def test_energies_are_counted_by_the_curve():
    spectra = Spectra(Calibration([fit("A", "height", [Point(1000.0, 500.0, 1.0)])]))
    spectra.count("A", rows([100.0, 100.0, 500.0, 9999.0]))
    told = spectra.told()["A"]
    assert (told["unit"], told["top"]) == ("eV", 1250.0)
    assert told["counts"][int(200 / 1250 * BINS)] == 2
    assert told["counts"][int(1000 / 1250 * BINS)] == 1
    assert sum(told["counts"]) == 3  # one is beyond


def test_salts_and_noise_are_not_counted():
    spectra = Spectra(Calibration([]))
    spectra.count("A", rows([100.0], flags=Flag.SALTED))
    spectra.count("A", rows([100.0], causes=mask_of((Cause.RANDOM,))))
    assert spectra.told() == {}
    spectra.count("A", rows([16384.0]))
    told = spectra.told()["A"]
    assert (told["unit"], told["counts"][BINS // 2]) == ("counts", 1)


def test_pulses_without_a_valid_curve_are_not_counted_as_energies():
    later = fit("A", "height", [Point(1000.0, 500.0, 1.0)], from_ns=100)
    spectra = Spectra(Calibration([later]))
    spectra.count("A", rows([100.0]))
    assert sum(spectra.told()["A"]["counts"]) == 0
