"""`scheelite replay`: recorded pulses through the real sockets and pipeline, to an ordinary run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from daq.errors import UsageError
from daq.services import system
from daq.services.bench import simulator
from daq.services.private import private_runtime
from daq.services.take import Outcome, take_run
from daq.settings.loader import load
from daq.store.reader import open_run

MARGIN = 1  # a trigger this many samples from where a pulse rises is that pulse's


class ReplayTrigger(msgspec.Struct, frozen=True):
    """The edge trigger that suits a recorded channel."""

    kind: str
    edge_span: int
    threshold: float
    rearm: float
    holdoff: int
    falling: bool


class ReplayChannel(msgspec.Struct, frozen=True):
    """A recorded channel as the replaying digitizer announces it.

    `pieces` are (record, start, stop, first): samples [start, stop) of the stream are those of
    the record from its index `first` on; `rises` are where the records' pulses rise.
    """

    name: str
    counts_offset: int
    record_length: int
    presamples: int
    trigger: ReplayTrigger
    pieces: list[tuple[int, int, int, int]]
    rises: list[int]


class Announced(msgspec.Struct, frozen=True):
    """What `python -m sim_hardware replay` announces."""

    name: str
    model: str
    resource: str
    rate_hz: float
    length: int
    channels: list[ReplayChannel]
    notes: list[str]


def replay(
    files: list[Path],
    noise: list[Path],
    rate_hz: float | None,
    seed: int,
    out: Path,
    console: Console,
) -> Outcome:
    """Replay LJH files, each as a channel, into a run below `out`."""
    if noise and len(noise) != len(files):
        raise UsageError(f"expected a --noise for each of {len(files)} files, found {len(noise)}")
    names = channel_names(files)
    spec = {
        "files": [{"path": str(p.absolute()), "channel": n} for p, n in zip(files, names, strict=True)],
        "noise": [str(p.absolute()) for p in noise] or [None] * len(files),
        "rate_hz": rate_hz,
        "seed": seed,
        "name": "replay",
    }
    with private_runtime() as folder, simulator("replay", spec, folder / "replay.log") as told:
        source = msgspec.convert(told[0], Announced)
        for note in source.notes:
            console.print(f"note: {note}", soft_wrap=True)
        config = folder / "replay.toml"
        config.write_text(_config(source, out.absolute()), encoding="utf-8")
        settings = load(config)
        comment = f"replay of {', '.join(str(p) for p in files)}"
        with system.running(settings):
            seconds = source.length / source.rate_hz
            outcome = take_run(settings, None, seconds, comment, console)
    return replace(outcome, extra=_compared(source, outcome.run, console))


def channel_names(files: list[Path]) -> list[str]:
    """A channel's name is its file's, made fit for a config and unlike the others."""
    names: list[str] = []
    for path in files:
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:24]
        name = stem if stem[:1].isalpha() else f"ch_{stem}"
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def _config(source: Announced, out: Path) -> str:
    """A config of this one digitizer; TOML's strings are JSON's."""
    lines = [
        "[experiment]",
        'name = "replay"',
        f"data_dir = {json.dumps(str(out))}",
        "[digitizers.replay]",
        f"model = {json.dumps(source.model)}",
        f"resource = {json.dumps(source.resource)}",
        "silent_after_s = 30.0",
    ]
    for i, channel in enumerate(source.channels):
        t = channel.trigger
        lines += [
            f"[kinds.{channel.name}]",
            f"record_length = {channel.record_length}",
            f"pretrigger = {channel.presamples}",
            f"trigger = {{ kind = {json.dumps(t.kind)}, threshold = {t.threshold}, "
            f"rearm = {t.rearm}, edge_span = {t.edge_span}, holdoff = {t.holdoff}, "
            f"falling = {json.dumps(t.falling)} }}",
            f"[channels.{channel.name}]",
            f"kind = {json.dumps(channel.name)}",
            'digitizer = "replay"',
            f"input = {i}",
            f"counts_offset = {channel.counts_offset}",
        ]
    return "\n".join(lines) + "\n"


# --- what was found, against what was recorded ---


# Any: what `replay --json` adds to its object
def _compared(source: Announced, folder: Path, console: Console) -> dict[str, Any]:
    found: dict[str, int] = {}
    missed: list[dict[str, Any]] = []
    extra: list[dict[str, Any]] = []
    with open_run(folder) as run:
        for channel in source.channels:
            table, _ = run.records(channel.name)
            of_rise = _matches(table["trigger"], np.array(channel.rises, np.int64))
            found[channel.name] = int(np.count_nonzero(of_rise >= 0))
            missed += [_place(channel, channel.rises[i]) for i in np.flatnonzero(of_rise < 0)]
            others = np.setdiff1d(np.arange(len(table)), of_rise)
            for row in table[others]:
                place = _place(channel, int(row["trigger"]))
                extra.append({**place, "height": round(float(row["height"]), 1)})
    _tell(found, missed, extra, console)
    return {"found": found, "missed": missed, "extra": extra, "notes": source.notes}


def _matches(triggers: np.ndarray[Any, Any], rises: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each rise, the index of the one trigger within the margin, or -1."""
    result = np.full(len(rises), -1, np.int64)
    for i, rise in enumerate(rises):
        near = np.flatnonzero(np.abs(triggers - rise) <= MARGIN)
        if near.size == 1:
            result[i] = near[0]
    return result


def _place(channel: ReplayChannel, sample: int) -> dict[str, Any]:
    """Where a sample of the stream is in the recorded file; record None: between records."""
    for record, start, stop, first in channel.pieces:
        if start <= sample < stop:
            return {"channel": channel.name, "record": record, "sample": first + sample - start}
    return {"channel": channel.name, "record": None, "sample": sample}


def _tell(
    found: dict[str, int], missed: list[dict[str, Any]], extra: list[dict[str, Any]], console: Console
) -> None:
    for name, n in found.items():
        console.print(f"{name}: {n} recorded pulses found once, each within {MARGIN} sample")
    for what, places in (("not found", missed), ("beyond the recorded triggers", extra)):
        for p in places:
            where = f"record {p['record']}, " if p["record"] is not None else "between records, "
            height = f", {p['height']:.0f} counts" if "height" in p else ""
            console.print(f"{what}: {p['channel']} {where}sample {p['sample']}{height}")
