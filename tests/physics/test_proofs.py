"""The whole chain scored against the truth of its bench: what is found, lost, tagged, counted.

Two crystals with pulses of 0 to 600 eV and a quiet one with salts, by filters of `scheelite train`
at 4 sigma (15 eV) and the curve of `scheelite calibrate`; seed 20261126 and the two after it.
`tests/system/proven.py` takes the runs. The same course, ten times as long, is a soak.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from daq.acquire.filters import Filter
from daq.model.record import Flag
from daq.services.efficiency import efficiencies
from daq.store.verify import verify
from tests.system import proven
from tests.system.proven import APART_S, RATE_HZ, RECORD_HZ, SALTED, THRESHOLD, Course, Scored

LONG = 10  # the soak's share of the short course
F64 = npt.NDArray[np.float64]


@pytest.fixture(scope="module", params=["short", pytest.param("long", marks=pytest.mark.soak)])
def course(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Course]:
    folder = tmp_path_factory.mktemp("rt")
    folder.chmod(0o700)
    times = LONG if request.param == "long" else 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEELITE_RUNTIME", str(folder))
        home = tmp_path_factory.mktemp("course")
        yield Course.taken(home, train_s=120 * times, calibrate_s=180 * times, prove_s=300 * times)


@pytest.fixture(scope="module")
def beam(course: Course) -> Course:
    """A minute more, with a beam; its filters and calibration are the course's."""
    proven.beamed(course.home, 60.0)
    return Course(course.home, "beam")


def within_poisson(n: int, expected: float) -> bool:
    low, high = stats.poisson.interval(0.999, expected)
    return bool(low <= n <= high)


def within_binomial(n: int, of: int, share: float) -> bool:
    low, high = stats.binom.interval(0.999, of, share)
    return bool(low <= n <= high)


@pytest.mark.timeout(900)
def test_the_run_is_whole(course: Course):
    assert verify(course.run.folder).problems == []
    assert course.run.gaps().size == 0


def test_isolated_pulses_above_30_ev_are_found_once(course: Course):
    """600 s of crystal: some 400 pulses, each one record within 1 ms, and no second one within
    0.1 s that is more than noise can be (6 sigma)."""
    n = 0
    for chain in course.chains.values():
        for row in chain.isolated:
            around = chain.near(row.sample, 0.1)
            high = around[chain.table["amplitude"][around] > 6 * chain.one.sigma]
            assert len(high) == 1, (chain.name, row, chain.table[around])
            assert abs(chain.at[high[0]] - row.sample) < 0.001 * RATE_HZ, (chain.name, row)
            n += 1
    assert n > 300


def test_energies_are_unbiased(course: Course):
    """0.5 % or 0.5 eV, beside three standard errors of the mean and of the curve."""
    for low, high in ((30, 112), (112, 113), (113, 300), (300, 600)):
        off, energies, curves = [], [], []
        for chain in course.chains.values():
            curve = course.curve(chain.name)
            for row, place in chain.pairs:
                if low < row.energy_ev <= high:
                    off.append(chain.energy_ev[place] - row.energy_ev)
                    energies.append(row.energy_ev)
                    curves.append(float(curve.sigma_ev(chain.table["amplitude"][place])))
        error = math.hypot(np.std(off) / math.sqrt(len(off)), np.mean(curves) / math.sqrt(2))
        allowed = max(0.5, 0.005 * float(np.mean(energies)))
        assert len(off) > 10
        assert abs(np.mean(off)) < allowed + 3 * error, (low, high, np.mean(off), error)


def test_times_are_as_sure_as_the_formula_says(course: Course):
    """The scatter in units of `Filter.time_sigma_s`, within four standard errors of 1 and 5 %."""
    for chain in course.chains.values():
        late, pulls = [], []
        for row, place in chain.pairs:
            height = float(course.curve(chain.name).counts(row.energy_ev))
            late.append((chain.at[place] - row.sample) / RATE_HZ)
            pulls.append(chain.one.time_sigma_s(height))
        # where the template has its trigger sample is its own choice: 0.1 ms after the deposit
        rest = (np.array(late) - np.median(late)) / np.array(pulls)
        assert abs(np.median(late)) < 0.2e-3
        error = 1 / math.sqrt(2 * len(rest))
        assert abs(rest.std() - 1) < 4 * error + 0.05, (chain.name, rest.std())


def test_noise_triggers_come_at_rices_rate(course: Course):
    """Above 4 and 4.5 sigma, away from pulses and salts: the 99.9 % interval of Poisson."""
    found, expected = {4.0: 0, 4.5: 0}, {4.0: 0.0, 4.5: 0.0}
    for chain in (*course.chains.values(), course.scored(SALTED)):
        clear_s = course.clear_s(chain)
        alone = course.is_clear(chain, chain.at[chain.matched])
        amplitude = chain.table["amplitude"][chain.matched[alone]]
        for sigmas in found:
            threshold = sigmas * chain.one.sigma
            found[sigmas] += int((amplitude >= threshold).sum())
            expected[sigmas] += chain.one.noise_rate_hz(threshold) * clear_s
    assert expected[4.0] > 10
    for sigmas, n in found.items():
        assert within_poisson(n, expected[sigmas]), (sigmas, n, expected[sigmas])


def test_resolution_is_that_of_template_and_noise(course: Course):
    """Noise records of the run through the kernel: 3 %, and three standard errors where these
    are more; the formula is of another run's noise."""
    ratios, n = [], 0
    for chain in course.chains.values():
        alone = chain.random[course.is_clear(chain, chain.at[chain.random])]
        heights = (chain.samples[:] @ chain.one.kernel)[alone]
        ratios.append(heights.std() / chain.one.sigma)
        n += len(heights)
    error = 1 / math.sqrt(2 * n)
    assert n > 300
    assert abs(float(np.mean(ratios)) - 1) < max(0.03, 3 * error), (ratios, n)


def expected_efficiency(one: Filter, heights: F64, rng: np.random.Generator) -> F64:
    """Shares of pulses of these heights [sigma] that a search for maxima finds; Monte Carlo.

    Without the engine: filtered noise is Gaussian with the autocorrelation of its spectrum.
    """
    near = 2 * (int(np.argmax(one.template)) - one.pretrigger)
    lags = np.arange(2 * near + 3)
    phases = np.cos(2 * np.pi * lags[:, None] * one.frequencies_hz / one.rate_hz)
    correlation = phases @ one.noise_shares / one.noise_shares.sum()
    covariance = correlation[np.abs(lags[:, None] - lags)]
    values, vectors = np.linalg.eigh(covariance)
    mixing = vectors * np.sqrt(np.maximum(values, 0))
    noise = rng.standard_normal((20_000, lags.size)) @ mixing.T
    response = one.response[one.length - near - 1 : one.length + near + 2]
    shares = []
    for height in heights:
        y = noise + height * response
        inner = y[:, 1:-1]
        top = (inner > y[:, :-2]) & (inner >= y[:, 2:]) & (inner >= THRESHOLD)
        shares.append(top.any(axis=1).mean())
    return np.array(shares)


def test_salts_are_found_as_often_as_theory_says(course: Course):
    """By energy, of salts alone for 0.2 s: the 99.9 % interval; and where half are found."""
    one, curve = course.filters[SALTED], course.curve(SALTED)
    energies = np.array(proven.SALTS_EV)
    sigmas = curve.counts(energies) / one.sigma
    expected = expected_efficiency(one, sigmas, np.random.default_rng(1))
    chain, salts = course.scored(SALTED), course.salts
    at = salts["sample"].astype(np.float64)
    apart = np.minimum(np.diff(at, prepend=-np.inf), np.diff(at, append=np.inf))
    alone = (apart > APART_S * RATE_HZ) & (chain.apart(at) > APART_S * RATE_HZ)
    for energy, share in zip(energies, expected, strict=True):
        of = salts[alone & (salts["counts"] > 0) & (np.abs(salts["energy_ev"] - energy) < 0.01)]
        assert len(of) > 10
        assert within_binomial(int(of["found"].sum()), len(of), share), (energy, len(of), share)
    half = float(np.interp(0.5, expected, energies))
    assert THRESHOLD * one.sigma / curve.counts_per_ev - half < 1.5  # a search lowers it a little
    told = efficiencies(course.run)[SALTED]["half_ev"]
    noise = one.noise_rate_hz(THRESHOLD * one.sigma) * 86_400
    said = f"50 % at {told:.1f} eV, by {np.count_nonzero(salts['counts'])} salts, "
    assert course.run.thresholds[SALTED] == f"{said}{noise:.3g} noise triggers per day"
    placed = np.count_nonzero(salts["counts"])
    error = one.sigma / curve.counts_per_ev * 2 / math.sqrt(placed)
    assert abs(told - half) < 0.3 + 4 * error, (told, half)


def test_coincidences_are_all_tagged(course: Course):
    """Captures in a crystal of which the other digitizer's crystal saw a gamma above 500 keV."""
    seen = {r.event: r for r in course.truth if r.channel == "CWO" and r.energy_ev > 500e3}
    n = 0
    for chain in course.chains.values():
        tags = course.tags(chain)
        for row, place in chain.pairs:
            if row.event in seen:
                assert tags[place], (chain.name, row)
                n += 1
    assert n > 80


def test_accidentals_come_at_the_computed_rate(course: Course):
    """Flat pulses, which nothing else is in time with: 1 - exp(-rate (before + after))."""
    vetoes, _ = course.run.records("CWO")
    rate_hz = len(vetoes) / course.seconds
    share = 1 - math.exp(-rate_hz * 2 * proven.VETO_S)
    tagged: list[bool] = []
    for chain in course.chains.values():
        flat = [place for row, place in chain.pairs if row.kind == "flat"]
        tagged += (course.tags(chain)[flat] > 0).tolist()
    assert len(tagged) > 100
    assert within_binomial(sum(tagged), len(tagged), share), (sum(tagged), len(tagged), share)


def test_a_beams_neutrinos_lie_in_its_gate(beam: Course):
    """A gate of 10 us is far narrower than a small pulse is sure of its time: it widens by 4 sigma
    of it. All are tagged, and others at the rate of the gates times what it is wide for each."""
    n, tagged, expected = 0, [], []
    for chain in beam.chains.values():
        tags, bit = beam.tags(chain), 1 << [w.name for w in beam.run.windows].index("beam")
        for row, place in chain.pairs:
            if row.kind == "beam":
                assert tags[place] & bit, (chain.name, row)
                n += 1
            elif row.kind == "flat":
                sigma_s = chain.one.time_sigma_s(float(chain.table["amplitude"][place]))
                wide_s = 2 * (proven.GATE_S + proven.GATE_SIGMAS * sigma_s)
                expected.append(min(1.0, wide_s * proven.GATE_HZ))
                tagged.append(bool(tags[place] & bit))
    assert n > 30
    assert len(tagged) > 40
    low, high = stats.norm.interval(0.999, sum(expected), math.sqrt(sum(expected)))
    assert low < sum(tagged) < high, (sum(tagged), sum(expected), len(tagged))


def followed(chain: Scored) -> Iterator[tuple[float, int]]:
    """Pulses above 30 eV whose record another one above 30 eV falls into: how long after [s], and
    the record. Nothing else within 0.2 s before."""
    after_s = (proven.LENGTH - proven.PRETRIGGER) / RECORD_HZ
    for first, second in zip(chain.hits, chain.hits[1:], strict=False):
        apart_s = (second.sample - first.sample) / RATE_HZ
        before = chain.hit_at[chain.hit_at < first.sample]
        alone = not before.size or first.sample - before[-1] > APART_S * RATE_HZ
        high = min(first.energy_ev, second.energy_ev) > 30
        places = chain.near(first.sample, 0.001)
        if alone and high and 0.001 < apart_s < after_s - 0.001 and places.size == 1:
            yield apart_s, int(places[0])


def test_pile_up_is_flagged(course: Course):
    """More than 95 % of those from 1 ms apart to the end of the record."""
    flagged = [
        (apart_s, bool(chain.table["flags"][place] & Flag.PILED_UP))
        for chain in course.chains.values()
        for apart_s, place in followed(chain)
    ]
    assert len(flagged) > 40
    assert np.mean([ok for _, ok in flagged]) > 0.95, sorted(a for a, ok in flagged if not ok)


def test_veto_dead_time_by_random_triggers_is_the_ledgers(course: Course):
    """Noise records with a veto's tag, among those without pulses: the 99.9 % interval."""
    tagged, of, vetoed, live = 0, 0, 0, 0
    for chain in course.chains.values():
        clean = chain.random[chain.table["flags"][chain.random] == 0]
        tagged += int(course.tags(chain)[clean].astype(bool).sum())
        of += len(clean)
        vetoed += int(chain.ledger["vetoed"].sum())
        live += int(chain.ledger["live"].sum())
    share = vetoed / (vetoed + live)
    assert of > 1000
    assert within_binomial(tagged, of, share), (tagged, of, share)


def test_every_sample_is_accounted_for(course: Course):
    for name in (*proven.TARGETS, SALTED):
        rows = course.scored(name).ledger
        parts = sum(rows[cause].astype(np.int64) for cause in rows.dtype.names[3:])
        assert np.array_equal(parts, rows["stop"] - rows["start"])
    assert Path(course.run.folder / "complete").exists()
