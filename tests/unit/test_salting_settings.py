"""The config's salting: energies become heights by filter and calibration, or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from daq.errors import FormatError, UsageError
from daq.readout.calibration import Calibration, Point, fit
from daq.services.calibrate import write_calibration
from daq.services.filterfile import write_filters
from daq.services.salting import salting_of
from daq.settings.sections import Salting
from tests import filters as made

SECTION = Salting(rate_hz=0.1, energies_ev=[10.0, 20.0], filters="f", calibration="c")


@pytest.fixture
def home(tmp_path):
    write_filters(tmp_path / "f", {n: made.tes_filter(falling=n == "B") for n in ("A", "B", "C")})
    curves = [fit(n, "amplitude", [Point(20.0, 60.0, 0.1)]) for n in ("A", "B")]
    write_calibration(tmp_path / "c", Calibration(curves))
    return tmp_path


def test_heights_are_those_of_the_energies_in_the_pulses_direction(home):
    rising = salting_of(SECTION, "A", 2500.0, 128, home)
    assert rising.heights == pytest.approx((30.0, 60.0))
    assert salting_of(SECTION, "B", 2500.0, 128, home).heights == pytest.approx((-30.0, -60.0))
    template = np.frombuffer(rising.template, "<f4")
    assert np.argmax(template) - rising.pretrigger == rising.near // 2


def test_what_the_files_do_not_have_is_refused(home):
    with pytest.raises(UsageError, match="f: expected a filter of D, found none"):
        salting_of(SECTION, "D", 2500.0, 128, home)
    with pytest.raises(UsageError, match="c: expected a curve of C, found none"):
        salting_of(SECTION, "C", 2500.0, 128, home)
    with pytest.raises(UsageError, match="f: expected a filter of A at 5000 Hz, found 2500 Hz"):
        salting_of(SECTION, "A", 5000.0, 128, home)
    with pytest.raises(FormatError, match="expected a file of filters: No such file"):
        salting_of(SECTION, "A", 2500.0, 128, home / "elsewhere")
