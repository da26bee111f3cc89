"""`scheelite replay`: recorded pulses through the real sockets and pipeline, to an ordinary run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

RISE = 64  # samples within which a pulse is at its height
MARGIN = 1  # a trigger this many samples from where a pulse rises is that pulse's


class ReplayTrigger(msgspec.Struct, frozen=True):
    """The edge trigger that suits a recorded channel."""

    kind: str
    edge_span: int
    threshold: float
    rearm: float
    holdoff: int
    direction: str


class ReplayChannel(msgspec.Struct, frozen=True):
    """A recorded channel as the replaying digitizer lays it out.

    `records` are (record, start, stop, first): samples [start, stop) of the stream are those of
    the record from its index `first` on; `rises` are where the records' pulses rise.
    """

    counts_offset: int
    record_length: int
    presamples: int
    trigger: ReplayTrigger
    records: list[tuple[int, int, int, int]]
    rises: list[int]


class Layout(msgspec.Struct, frozen=True):
    """The file that `python -m sim_hardware replay` writes: what lies where in its stream."""

    rate_hz: float
    length: int
    notes: list[str]
    channels: dict[str, ReplayChannel]


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
        "files": [
            {"path": str(p.absolute()), "channel": n} for p, n in zip(files, names, strict=True)
        ],
        "noise": [str(p.absolute()) for p in noise] if noise else [None] * len(files),
        "rate_hz": rate_hz,
        "seed": seed,
        "name": "replay",
    }
    with private_runtime() as folder, _player(spec, folder) as (told, source):
        for note in source.notes:
            console.print(f"note: {note}", soft_wrap=True)
        config = folder / "replay.toml"
        config.write_text(_config(told, source, out.absolute()), encoding="utf-8")
        settings = load(config)
        comment = f"replay of {', '.join(str(p) for p in files)}"
        with system.running(settings):
            seconds = source.length / source.rate_hz
            outcome = take_run(settings, None, seconds, comment, console)
    return replace(outcome, extra=_compared(source, outcome.run, console))


@contextmanager
def _player(spec: Mapping[str, object], folder: Path) -> Iterator[tuple[dict[str, Any], Layout]]:
    """The replaying digitizer: what it announced (Any: JSON), and what lies where."""
    layout = folder / "layout.json"
    with simulator("replay", {**spec, "layout": str(layout)}, folder / "replay.log") as told:
        yield told[0], msgspec.json.decode(layout.read_bytes(), type=Layout)


def channel_names(files: list[Path]) -> list[str]:
    """A channel's name is its file's, made fit for a config and unlike the others."""
    names: list[str] = []
    for path in files:
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:24]
        name = stem if stem[:1].isalpha() else f"ch_{stem}"
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def _config(told: dict[str, Any], source: Layout, out: Path) -> str:
    """A config of this one digitizer; TOML's strings are JSON's."""
    lines = [
        "[experiment]",
        'name = "replay"',
        f"data_dir = {json.dumps(str(out))}",
        "[digitizers.replay]",
        f"model = {json.dumps(told['model'])}",
        f"resource = {json.dumps(told['resource'])}",
        "silent_after_s = 30.0",
    ]
    for i, (name, channel) in enumerate(source.channels.items()):
        t = channel.trigger
        lines += [
            f"[kinds.{name}]",
            f"record_length = {channel.record_length}",
            f"pretrigger = {channel.presamples}",
            f"triggers = [{{ kind = {json.dumps(t.kind)}, threshold = {t.threshold}, "
            f"rearm = {t.rearm}, edge_span = {t.edge_span}, holdoff = {t.holdoff}, "
            f"direction = {json.dumps(t.direction)} }}]",
            f"[channels.{name}]",
            f"kind = {json.dumps(name)}",
            'digitizer = "replay"',
            f"input = {i}",
            f"counts_offset = {-channel.counts_offset}",
        ]
    return "\n".join(lines) + "\n"


# --- what was found, against what was recorded ---


# Any: what `replay --json` adds to its object
def _compared(source: Layout, folder: Path, console: Console) -> dict[str, Any]:
    found: dict[str, int] = {}
    missed: list[dict[str, Any]] = []
    extra: list[dict[str, Any]] = []
    with open_run(folder) as run:
        for name, channel in source.channels.items():
            table, samples = run.records(name)
            of_rise = _matches(table["trigger"], np.array(channel.rises, np.int64))
            found[name] = int(np.count_nonzero(of_rise >= 0))
            missed += [_place(name, channel, channel.rises[i]) for i in np.flatnonzero(of_rise < 0)]
            others = np.setdiff1d(np.arange(len(table)), of_rise)
            for i in others:
                place = _place(name, channel, int(table["trigger"][i]))
                extra.append({**place, "height": _step(samples[int(i)], channel)})
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


def _step(record: np.ndarray[Any, Any], channel: ReplayChannel) -> int:
    """How far a second pulse rises above what it stands on [counts], in its own direction."""
    at, span = channel.presamples, channel.trigger.edge_span
    after = record[at : at + RISE].astype(int) - int(record[at - span])
    return int(-after.min() if channel.trigger.direction == "falling" else after.max())


def _place(name: str, channel: ReplayChannel, sample: int) -> dict[str, Any]:
    """Where a sample of the stream is in the recorded file; record None: between records."""
    for record, start, stop, first in channel.records:
        if start <= sample < stop:
            return {"channel": name, "record": record, "sample": first + sample - start}
    return {"channel": name, "record": None, "sample": sample}


def _tell(
    found: dict[str, int],
    missed: list[dict[str, Any]],
    extra: list[dict[str, Any]],
    console: Console,
) -> None:
    for name, n in found.items():
        console.print(f"{name}: {n} recorded pulses found once, each within {MARGIN} sample")
    for what, places in (("not found", missed), ("beyond the recorded triggers", extra)):
        for p in places:
            where = f"record {p['record']}, " if p["record"] is not None else "between records, "
            height = f", {p['height']:.0f} counts" if "height" in p else ""
            console.print(f"{what}: {p['channel']} {where}sample {p['sample']}{height}")
