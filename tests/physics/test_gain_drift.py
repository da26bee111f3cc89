"""A gain that drifts by 5 % is followed by heater pulses and corrected, from the wire to energies.

A night in little: the sensor's bias changes step by step while the generator pulses its heater.
Energies of pulses that the correction knows nothing of stay what they were within 0.5 %.
"""

from __future__ import annotations

import numpy as np
import pytest

from daq.model.block import Block
from daq.model.channel import Channel, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Plan, Window
from daq.model.record import PULSES, Cause
from daq.readout.calibration import Calibration, Point, fit
from daq.services.calibrate import run_energies
from daq.services.gains import UNKNOWN, divided, heater_rows
from daq.services.recording import DigitizerFacts, Recording, RunFacts
from daq.store import names
from daq.store.folder import Folder
from daq.store.log import LogSettings
from daq.store.reader import Run, open_run
from daq.store.verify import verify
from tests.offline import T_NS
from tests.wired_bench import LSB_V, spec, wired

RATE_HZ = 50e3
PIECE_S, PERIOD_S = 2.5, 0.25
TESTED_V, FOLLOWED_V = 1.6, 2.0
BIASES_UA = np.linspace(0.93, 0.99, 5)
PIECES = 40

C11 = Channel(
    name="C11", digitizer="targets", row=0, sample_rate_hz=RATE_HZ, decimation=5,
    record_length=1024, pretrigger=256, volts_per_count=LSB_V, mass_g=0.75, merge_window=64,
    triggers=(TriggerSettings(kind="edge", threshold=40, rearm=20, edge_span=8, holdoff=512),
              TriggerSettings(kind="external", line="SYNC")),
)  # fmt: skip
SYNC = Channel(
    name="SYNC", digitizer="targets", row=1, sample_rate_hz=RATE_HZ, decimation=1,
    record_length=64, pretrigger=16, volts_per_count=LSB_V, recorded=False,
    triggers=(TriggerSettings(kind="level", threshold=5000, rearm=2000),),
)  # fmt: skip
HEATER = Window(name="pulser", kind="heater", sources=("SYNC",), tagged=("C11",),
                before_ns=1_000_000, after_ns=50_000_000)  # fmt: skip


def begun(folder) -> Recording:
    curve = fit("C11", "height", [Point(1000.0, 1000.0, 1.0)])
    start = DigitizerFacts(name="targets", rate_hz=RATE_HZ, epoch="e", start=0, anchors=[(0, T_NS)])
    facts = RunFacts(
        run=1, name="gain", comment="", settings_toml="", settings={}, channels=[C11, SYNC],
        digitizers=[start], plan=Plan(windows=(HEATER,)), software="scheelite test", host="h",
        user="u", t_ns=T_NS, calibration=Calibration([curve]).to_json().decode(),
        wander_per_rth=0.2,  # of a night that lasts 100 s
    )  # fmt: skip
    path = folder / "run_000001"
    names.log_folder(path).mkdir(parents=True)
    stop = round(PIECES * PIECE_S * RATE_HZ)
    return Recording.begin(path, facts, LogSettings(), {"targets": stop})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder, n = tmp_path_factory.mktemp("gain"), round(PIECE_S * RATE_HZ)
    bench_ = spec(RATE_HZ)
    bench_["digitizers"]["targets"]["channels"] = ["C11", "SYNC"]
    bench_["wiring"]["sync"] = {"SYNC": "pulser:1"}
    recording = begun(folder)
    with wired(bench_) as bench:
        output = bench.pulser.outputs[1]
        output.heater_pulse(height_v=TESTED_V, width_s=100e-6, period_s=PERIOD_S, load="INF")
        output.on.write(True)
        for piece in range(PIECES):
            volts = FOLLOWED_V if piece % 2 else TESTED_V
            bench.bias(float(BIASES_UA[piece * len(BIASES_UA) // PIECES]))
            output.high.write(volts)
            t_ns = T_NS + round(piece * PIECE_S * 1e9)
            recording.rung(t_ns, volts if volts == FOLLOWED_V else UNKNOWN, control=False)
            samples = bench.rows(PIECE_S).astype(np.int16)
            anchors = (Anchor(0, T_NS),) if piece == 0 else ()
            recording.feed("targets", [], Block(piece * n, samples, anchors))
            recording.commit()
            recording.follow_gains()
            recording.fresh()
    recording.end(T_NS + round(PIECES * PIECE_S * 1e9))
    Folder(folder, lambda: T_NS).finish(1)
    return open_run(recording.folder)


def of_the_tested(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds, heights and energies of the pulses that nothing was corrected by."""
    table, _ = run.records("C11")
    seconds = (table["t_ns"] - T_NS) / 1e9
    chosen = heater_rows(table) & (seconds // PIECE_S % 2 == 0)
    # the bias is settled a second after its step
    chosen &= (seconds % PIECE_S > 1.5) & (seconds > 10 * PIECE_S * 0.25)
    return seconds[chosen], table["height"][chosen], run_energies(run, "C11")[chosen]


def test_five_percent_of_drift_are_corrected_to_half_a_percent(run):
    seconds, heights, energies = of_the_tested(run)
    early, late = seconds < 20, seconds > 85
    assert min(early.sum(), late.sum()) > 10
    drifted = heights[late].mean() / heights[early].mean() - 1
    assert -0.07 < drifted < -0.04
    corrected = energies[late].mean() / energies[early].mean() - 1
    assert abs(corrected) < 0.005


def test_heater_pulses_are_tagged_and_charged(run):
    table, _ = run.records("C11")
    external = table["causes"] & (1 << Cause.EXTERNAL) > 0
    n_pulses = PIECES * PIECE_S / PERIOD_S
    assert external.sum() == pytest.approx(n_pulses, abs=2)
    assert (table["causes"][external] & PULSES > 0).mean() > 0.95  # each found by itself as well
    heater = run.ledger()
    heater = heater[heater["channel"] == 0]["heater"].sum() / RATE_HZ
    assert heater == pytest.approx(n_pulses * 0.051, rel=0.02)
    assert verify(run.folder).problems == []


def test_the_correction_is_in_the_run(run):
    gains = [i for i in run.inputs() if i["input"] == "gain"]
    assert len(gains) > 3
    values = [i["gains"]["C11"][0] for i in gains]
    assert values[-1] == pytest.approx(0.945, abs=0.01)
    table, _ = run.records("C11")
    halved = divided(table, 2.0)
    assert np.array_equal(halved["height"], table["height"] / 2)
    assert np.array_equal(halved["trigger"], table["trigger"])
