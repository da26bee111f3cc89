"""The raw stream beside the records: all of it, once, and played back it gives the same run."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daq.errors import FormatError, SettingsError, UsageError
from daq.model.block import Block, Gap
from daq.model.channel import Channel, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.services import system
from daq.services.rawreplay import replay_run
from daq.services.rawstream import raw_channels
from daq.services.recording import DigitizerFacts, Recording, RunFacts
from daq.settings.loader import Settings, parse
from daq.store.consistency import problems_in
from daq.store.folder import Folder
from daq.store.log import LogSettings
from daq.store.parts import parts_of
from daq.store.reader import Run, open_run
from daq.store.verify import verify
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

T0_NS = 10**18
RATE_HZ = {"one": 10e3, "two": 8e3}
LENGTH = {"one": 20_000, "two": 16_000}


def settings_of(data: Path, raw: str) -> Settings:
    storage = f"[storage]\nraw = {raw}\nreserve_bytes = 1000"
    return parse(CONFIG.format(data=data).replace("[storage]", storage), Path("t.toml"))


def folded(folder: Path) -> Run:
    folding = Folder(folder.parent, time.time_ns)
    folding.fold()
    assert folding.problems == {}
    assert verify(folder).problems == []
    return open_run(folder)


def stream(run: Run, channel: str) -> np.ndarray:
    return np.concatenate([samples for _, samples in run.raw(channel)])


def test_every_sample_is_in_the_file_and_gives_the_same_run_again(runtime, tmp_path):
    config, x = settings_of(tmp_path / "runs", '"all"'), pulses()
    with core_of(config), digitizer_of(config, x, gap=(12_000, 15_000)):
        folder = start(config)
        until(lambda: status(config)["last"] is not None, "the end of the run")
    with folded(folder) as run:
        assert run.raw_channels == ("A", "B")
        assert np.array_equal(stream(run, "B"), np.delete(x[1], np.s_[12_000:15_000]))
    again = replay_run(folder, tmp_path / "again")
    assert again.differences == []
    assert verify(again.run).problems == []
    with open_run(again.run) as copy:
        assert copy.n_records() == {"A": len(AT), "B": len(AT)}
        assert copy.comment == "replay of run 1"
        assert copy.gaps().size == 1


def test_nothing_is_twice_or_missing_where_a_core_is_killed(runtime, tmp_path, monkeypatch):
    config, x = settings_of(tmp_path / "runs", '["B"]'), pulses()
    with core_of(config) as core, digitizer_of(config, x, hold_at=20_000):
        folder = start(config)
        until(lambda: status(config)["digitizers"]["d"]["next"] == 20_000, "samples")
        monkeypatch.setattr(core, "_end_now", lambda _: core._recording.drop())  # as killed
    with core_of(config), digitizer_of(config, x):
        until(lambda: status(config)["last"] is not None, "the end of the run")
    with folded(folder) as run:
        assert run.raw_channels == ("B",)
        assert np.array_equal(stream(run, "B"), x[1])
    assert replay_run(folder, tmp_path / "again").differences == []


def test_inputs_of_channels_without_a_raw_stream_do_not_matter_to_the_others(runtime, tmp_path):
    config, both = settings_of(tmp_path / "runs", '["B"]'), ["A", "B"]
    trigger = {"kind": "level", "threshold": 2000.0, "rearm": 15.0}

    def ask(verb: str, **arguments: object) -> None:
        system.ask(config, "core", verb, **arguments)

    with core_of(config), digitizer_of(config, pulses(), hold_at=12_000) as digitizer:
        folder = start(config)
        until(lambda: status(config)["digitizers"]["d"]["next"] == 12_000, "samples")
        ask("mark_dead", cause="unlocked", channels=both)
        ask("mark_alive", cause="unlocked", channels=both)
        ask("record", channels=both)
        ask("set_triggers", channel="A", triggers=[trigger])
        digitizer.go_on.set()
        until(lambda: status(config)["last"] is not None, "the end of the run")
    folded(folder)
    again = replay_run(folder, tmp_path / "again")
    assert again.differences == []
    with open_run(again.run) as copy:
        assert copy.n_records() == {"B": len(AT) + 1}
        assert set(copy.records("B")[0]["epoch"].tolist()) == {0, 1}


def test_what_is_lost_to_a_full_disk_replays_as_the_same_gap(runtime, tmp_path, monkeypatch):
    config, disk = settings_of(tmp_path / "runs", '"all"'), SimpleNamespace(free=1 << 40)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    lost = (13_000, 16_000)
    with core_of(config), digitizer_of(config, pulses(), hold_at=12_000, gap=lost) as digitizer:
        folder = start(config)
        until(lambda: status(config)["digitizers"]["d"]["next"] == 12_000, "samples")
        disk.free = 1
        until(lambda: status(config)["state"] == "paused-by-disk", "the pause")
        digitizer.go_on.set()
        until(lambda: status(config)["digitizers"]["d"]["next"] == 40_000, "more samples")
        disk.free = 1 << 40
        until(lambda: status(config)["run"] is None, "the end of the run")
    with folded(folder) as run:
        assert run.gaps()["cause"].tolist() == [b"disk_full"]
    again = replay_run(folder, tmp_path / "again")
    assert again.differences == []


def test_a_difference_is_named(runtime, tmp_path, monkeypatch):
    config = settings_of(tmp_path / "runs", '"all"')
    with core_of(config), digitizer_of(config, pulses()):
        folder = start(config)
        until(lambda: status(config)["last"] is not None, "the end of the run")
    folded(folder)
    raw = Run.raw

    def quieter(run: Run, channel: str):
        return ((first, samples // (1 + (channel == "A"))) for first, samples in raw(run, channel))

    monkeypatch.setattr(Run, "raw", quieter)
    found = replay_run(folder, tmp_path / "again").differences
    assert found[0] == "channel A: expected the same 4 records, found 4"
    assert found[1].startswith("ledger: expected {'A': {'stop': 40000, 'live': ")
    assert len(found) == 2


def test_a_stream_with_a_hole_is_refused(runtime, tmp_path, monkeypatch):
    config = settings_of(tmp_path / "runs", '"all"')
    with core_of(config), digitizer_of(config, pulses(), gap=(12_000, 15_000)):
        folder = start(config)
        until(lambda: status(config)["last"] is not None, "the end of the run")
    folded(folder)
    gaps = Run.gaps
    monkeypatch.setattr(Run, "gaps", lambda run: gaps(run)[:0])
    with pytest.raises(FormatError, match="expected samples or a gap from 12000 on, found 15000"):
        replay_run(folder, tmp_path / "again")


# --- two clocks, any cuts, gaps, silences and restarts ---


def facts(raw: list[str]) -> RunFacts:
    trigger = TriggerSettings(kind="level", threshold=90.0, rearm=20.0, edge_span=4, holdoff=100)
    channels = [
        Channel(
            name=f"{name}{row}",
            digitizer=name,
            row=row,
            sample_rate_hz=RATE_HZ[name],
            decimation=2,
            record_length=64,
            pretrigger=16,
            volts_per_count=1e-4,
            triggers=(trigger,),
            mass_g=0.0,
        )
        for name in RATE_HZ
        for row in (0, 2)
    ]
    digitizers = [
        DigitizerFacts(name=name, rate_hz=rate, epoch="e", start=100, anchors=[(0, T0_NS)])
        for name, rate in RATE_HZ.items()
    ]
    return RunFacts(
        run=1, name="t", comment="", settings_toml="", settings={}, channels=channels,
        digitizers=digitizers, plan=Plan(window_ns=3_000_000), software="s", host="h", user="u",
        t_ns=T0_NS, raw=raw,
    )  # fmt: skip


def samples_of(name: str) -> np.ndarray:
    x = np.random.default_rng(len(name)).normal(0, 8, (3, LENGTH[name])).astype(np.int16)
    for at in range(300, LENGTH[name] - 100, 937):
        x[:, at : at + 60] += 200
    return x


SAMPLES = {name: samples_of(name) for name in RATE_HZ}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(list(RATE_HZ)),
        st.integers(1, 4000),
        st.sampled_from(["feed", "feed", "feed", "lose", "silence", "restart"]),
    ),
    max_size=20,
)


@settings(max_examples=8, deadline=None)
@given(STEPS)
@example([("two", 1, "feed"), ("two", 1, "silence"), ("one", 1, "restart"), ("one", 321, "feed")])
def test_a_replay_is_the_run_whatever_happened_to_it(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("raw") / "runs" / "run_000001"
    folder.mkdir(parents=True)
    logging = LogSettings(rotate_bytes=200_000)
    names = [channel.name for channel in facts([]).channels]
    recording = Recording.begin(folder, facts(names), logging, {})
    for name, length, what in steps:
        at = recording.pipeline.fed(name)
        stop = min(at + length, LENGTH[name])
        if what == "restart":
            recording.commit()
            recording.drop()
            recording = Recording.resume(folder, logging)
            catch_up(recording)
        elif what == "silence":
            recording.silence(name)
        elif what == "lose" and stop > at:
            recording.feed(name, [Gap(at, stop, False, "overflow")], None)
        elif stop > at:
            recording.feed(name, [], block(name, at, stop))
    recording.stop_at({name: recording.pipeline.fed(name) for name in RATE_HZ}, "enough")
    recording.end(T0_NS + 10**9)
    Folder(folder.parent, time.time_ns).fold()
    assert problems_in(parts_of(folder), whole=True) == []
    differences = replay_run(folder, folder.parent.parent / "again").differences
    assert differences == []


def catch_up(recording: Recording) -> None:
    """After a restart the digitizers send again what the pipeline needs; nothing was lost."""
    for name in RATE_HZ:
        start, stop = recording.pipeline.resumes_at(name), recording.pipeline.fed(name)
        if start < stop:
            recording.feed(name, [], block(name, start, stop))


def block(name: str, start: int, stop: int) -> Block:
    rate = round(RATE_HZ[name])
    marks = [s for s in range(0, LENGTH[name], rate // 4) if start <= s < stop]
    anchors = tuple(Anchor(s, T0_NS + s * 10**9 // rate + s // 50) for s in marks)
    return Block(start, SAMPLES[name][:, start:stop], anchors)


# --- what is refused ---


def test_a_run_without_raw_streams_cannot_be_replayed(runtime, tmp_path):
    config = settings_of(tmp_path / "runs", '"none"')
    with core_of(config), digitizer_of(config, pulses()):
        folder = start(config)
        until(lambda: status(config)["last"] is not None, "the end of the run")
    with pytest.raises(UsageError, match="expected a run with raw streams, found none in it"):
        replay_run(folder, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    with pytest.raises(UsageError, match=r"expected a channel with a raw stream \(none\), found"):
        list(folded(folder).raw("A"))


def test_raw_channels_are_those_of_the_config(runtime, tmp_path):
    assert raw_channels(settings_of(tmp_path, '"all"')) == ["A", "B"]
    assert raw_channels(settings_of(tmp_path, '["B"]')) == ["B"]
    assert raw_channels(settings_of(tmp_path, '"none"')) == []
    with pytest.raises(SettingsError, match=r"storage.raw: expected channels of A, B, found 'Z'"):
        settings_of(tmp_path, '["A", "Z"]')
