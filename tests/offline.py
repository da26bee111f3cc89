"""Runs recorded from samples in memory: the real pipeline, log and reader, without sockets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from daq.model.block import Block
from daq.model.channel import Channel, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.services.recording import DigitizerFacts, Recording, RunFacts
from daq.store import names
from daq.store.log import LogSettings
from daq.store.reader import Run, open_run

T_NS = 1_790_000_000_000_000_000
LOG = LogSettings(sync_s=0.05, rotate_s=3600.0, rotate_bytes=1 << 28)


def channel(name: str, row: int, rate_hz: float, **more) -> Channel:
    """A channel of digitizer d at full rate, with a level and a random trigger."""
    facts = {
        "name": name, "digitizer": "d", "row": row, "sample_rate_hz": rate_hz, "decimation": 1,
        "record_length": 512, "pretrigger": 128, "volts_per_count": 1e-4, "mass_g": 0.75,
        "triggers": (
            TriggerSettings(kind="edge", threshold=60, rearm=30, edge_span=8, holdoff=512),
            TriggerSettings(kind="random", rate_hz=1.0),
        ),
    }  # fmt: skip
    return Channel(**(facts | more))


def record(
    folder: Path, channels: list[Channel], samples: npt.NDArray[np.int16], plan: Plan | None = None,
    number: int = 1, piece: int = 50_000, **facts,
) -> Run:  # fmt: skip
    """A run of [input, sample], from sample 0 of digitizer d, ended; open."""
    rate_hz = channels[0].sample_rate_hz
    digitizer = DigitizerFacts(name="d", rate_hz=rate_hz, epoch="e", start=0, anchors=[(0, T_NS)])
    run = RunFacts(
        run=number, name="offline", comment="", settings_toml="", settings={}, channels=channels,
        digitizers=[digitizer], plan=plan or Plan(), software="scheelite test", host="h",
        user="u", t_ns=T_NS, **facts,
    )  # fmt: skip
    stop = samples.shape[1]
    path = folder / f"run_{number:06d}"
    names.log_folder(path).mkdir(parents=True)
    recording = Recording.begin(path, run, LOG, {"d": stop})
    for start in range(0, stop, piece):
        part = samples[:, start : start + piece]
        anchors = (Anchor(0, T_NS),) if start == 0 else ()
        recording.feed("d", [], Block(start=start, samples=part, anchors=anchors))
        recording.commit()
    recording.end(T_NS + round(stop / rate_hz * 1e9))
    return open_run(recording.folder)
