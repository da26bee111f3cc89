"""A running core whose channel A is blinded: what it still shows, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.errors import RefusedError, SettingsError, UsageError
from daq.readout.calibration import Calibration, Point, fit
from daq.report.page import write_report
from daq.services import system
from daq.services.calibrate import write_calibration
from daq.services.setup import channels_of
from daq.settings.loader import parse
from daq.store import names
from daq.store.folder import Folder
from daq.store.reader import open_run
from daq.wire import codec, sockets
from daq.wire.schemas import Pulses, StreamHello, Traces
from tests.system.test_core_service import (
    AT,
    CONFIG,
    core_of,
    digitizer_of,
    pulses,
    start,
    status,
    until,
)

TRIGGER = 'triggers = [{ kind = "level", threshold = 100, rearm = 15, holdoff = 100 }]'
SHAPE = "record_length = 256\npretrigger = 64\n"
TWO_KINDS = f"\n[kinds.secret]\n{SHAPE}{TRIGGER}\n[kinds.secret.blinding]\n"


def config(data: Path, blinding: str, more: str = "") -> str:
    text = CONFIG.format(data=data).replace("[storage]", f"{more}[storage]")
    text = text.replace('A = { kind = "k"', 'A = { kind = "secret"')
    return text + TWO_KINDS + blinding


def test_a_blinded_channel_shows_only_that_it_is(runtime, tmp_path):
    settings = parse(config(tmp_path / "runs", "fraction = 1.0"), tmp_path / "t.toml")
    endpoint, seen = settings.endpoint, {Traces: set(), Pulses: set()}
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=1000) as digitizer:
        eyes = sockets.subscribe(endpoint("core.traces"), endpoint("core.pulses"))
        folder = start(settings)
        until(lambda: status(settings)["digitizers"]["d"]["next"] >= 1000, "samples")
        with pytest.raises(RefusedError, match="expected a channel that shows all it has, found A"):
            sockets.raw_samples(endpoint("core.raw"), "A", 10, 5.0)
        digitizer.go_on.set()
        until(lambda: status(settings)["run"] is None, "the end of the run")
        spectra = system.ask(settings, "core", "spectra")["spectra"]
        assert status(settings)["last"]["records"] == {"A": 0, "B": len(AT)}
        while eyes.poll(300):
            message = codec.decode(sockets.receive(eyes)[1], Traces, Pulses)
            told = message.channels if isinstance(message, Traces) else [message.channel]
            seen[type(message)] |= set(told)
        eyes.close(0)
    assert seen == {Traces: {"B"}, Pulses: {"B"}}
    assert set(spectra) == {"B"}
    Folder(settings.data_dir, lambda: 10**18).fold()
    run = open_run(folder, unblind=True)
    assert run.n_records() == {"A": 0, "B": len(AT)}
    assert len(run.blinded_records("A")[0]) == len(AT)
    assert run.livetime_s()["A"] == pytest.approx(run.livetime_s()["B"], rel=0.01)
    assert names.restricted_path(folder, 1).exists()
    page = write_report(open_run(folder), tmp_path / "report.html", None).read_text("utf-8")
    assert f"A: {len(AT)} records are blinded" in page
    assert "B: " not in page


def test_the_state_counts_what_is_blinded(runtime, tmp_path):
    settings = parse(config(tmp_path / "runs", "fraction = 1.0"), tmp_path / "t.toml")
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=30_000) as digitizer:
        start(settings)
        until(lambda: status(settings)["channels"]["A"]["blinded"] == 3, "three of the pulses")
        assert status(settings)["channels"]["A"]["records"] == 0
        assert status(settings)["channels"]["B"]["blinded"] == 0
        digitizer.go_on.set()


@pytest.mark.parametrize(
    ("blinding", "sentence"),
    [
        ("", "kinds.secret.blinding: expected a fraction above 0 or an energy window, found"),
        ("from_ev = 5.0", "kinds.secret.blinding: expected both from_ev and to_ev or neither"),
        ("from_ev = 5.0\nto_ev = 4.0", "expected from_ev below to_ev 4, found 5"),
        ("from_ev = 5.0\nto_ev = 9.0", "blinding: expected experiment.calibration for an energy"),
    ],
)
def test_blinding_that_is_none_is_refused(tmp_path, blinding, sentence):
    with pytest.raises(SettingsError, match=sentence):
        parse(config(tmp_path, blinding), tmp_path / "t.toml")


@pytest.mark.parametrize("raw", ['"all"', '["A"]'])
def test_a_raw_stream_of_a_blinded_channel_is_refused(tmp_path, raw):
    text = config(tmp_path, "fraction = 0.5").replace("[storage]", f"[storage]\nraw = {raw}")
    with pytest.raises(SettingsError, match=r"storage.raw: expected no raw stream of A, whose"):
        parse(text, tmp_path / "t.toml")
    parse(text.replace(f"raw = {raw}", 'raw = ["B"]'), tmp_path / "t.toml")


def test_an_energy_window_is_that_of_the_calibration(tmp_path):
    hello = StreamHello(
        digitizer="d", epoch="e", channels=["a", "b"], rate_hz=10e3, volts_per_count=1.0,
        oldest=0, newest=0,
    )  # fmt: skip
    text = config(tmp_path, "from_ev = 10.0\nto_ev = 30.0", 'calibration = "cal.json"\n')
    settings = parse(text, tmp_path / "t.toml")
    write_calibration(
        tmp_path / "cal.json", Calibration([fit("A", "amplitude", [Point(20.0, 60.0, 0.1)])])
    )
    a, b = channels_of(settings, hello)
    assert (a.blinding.quantity, a.blinding.low, a.blinding.high) == ("amplitude", 30.0, 90.0)
    assert b.blinding is None
    write_calibration(
        tmp_path / "cal.json", Calibration([fit("B", "amplitude", [Point(20.0, 60.0, 0.1)])])
    )
    with pytest.raises(UsageError, match="expected a curve of A, whose kind blinds an energy"):
        channels_of(settings, hello)
