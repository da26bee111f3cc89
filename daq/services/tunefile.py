"""What a tuning leaves: a file that can be read and restored, in a folder with its journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from daq.errors import FormatError, StorageError, UsageError
from daq.readout.requests import Value
from daq.report.tuning import Difference, shown

FOLDER, TUNE, BEFORE, JOURNAL, PLAN, REPORT = (
    "tuning", "tune.json", "before.json", "journal", "plan.json", "report.html",
)  # fmt: skip
SAME = 1e-9  # relative: below it nothing changed


class StepEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step: whether it passed, what was measured, and what was seen where it did not."""

    name: str
    passed: bool
    values: dict[str, float]
    expected: str = ""
    found: str = ""


class ChannelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One channel: everything it holds in SI units, which is what `load` brings back."""

    passed: bool
    held: dict[str, Value]
    steps: list[StepEntry] = []


class TuneFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `baths` are setpoints, "instrument:parameter", before a deep tuning moved them."""

    channels: dict[str, ChannelEntry]
    made_utc: str
    config: str
    baths: dict[str, float] = {}
    format: Literal["scheelite-tune"] = "scheelite-tune"
    version: Literal[1] = 1


class PlanFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was begun: `text` is the config's."""

    channels: list[str]
    text: str
    deep: bool = False


K = TypeVar("K", TuneFile, PlanFile)


def new_folder(data_dir: Path) -> Path:
    """A folder for a tuning that begins now."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    folder = data_dir / FOLDER / stamp
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder


def folders(data_dir: Path) -> list[Path]:
    """The tunings so far, the latest first."""
    home = data_dir / FOLDER
    return sorted((each.parent for each in home.glob(f"*/{PLAN}")), reverse=True)


def unfinished(data_dir: Path) -> Path:
    """The latest tuning, which was interrupted; UsageError where it came to its end."""
    for folder in folders(data_dir)[:1]:
        if not (folder / TUNE).exists():
            return folder
    raise UsageError(f"expected an interrupted tuning in {data_dir / FOLDER}, found none")


def write(path: Path, content: TuneFile | PlanFile) -> None:
    """Whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error


def read(path: Path) -> TuneFile:
    """A tune file; FormatError says what is wrong with another one."""
    return _read(path, TuneFile, "a tune file")


def read_plan(folder: Path) -> PlanFile:
    """What was begun in a folder."""
    return _read(folder / PLAN, PlanFile, "the plan of a tuning")


def _read(path: Path, kind: type[K], what: str) -> K:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise FormatError(f"{path}: expected {what}: {error}") from error


def last_good(data_dir: Path, but: Path) -> dict[str, ChannelEntry]:
    """What each channel was when it last passed, in other folders than `but`."""
    found: dict[str, ChannelEntry] = {}
    for folder in folders(data_dir):
        if folder == but or not (folder / TUNE).exists():
            continue
        for name, channel in read(folder / TUNE).channels.items():
            if channel.passed:
                found.setdefault(name, channel)
    return found


def last_measured(data_dir: Path, channel: str, name: str) -> float | None:
    """The latest value of that name that a channel's tuning found when it passed."""
    for folder in folders(data_dir):
        if not (folder / TUNE).exists():
            continue
        entry = read(folder / TUNE).channels.get(channel)
        for step in entry.steps if entry and entry.passed else ():
            if name in step.values:
                return step.values[name]
    return None


def differences(
    before: Mapping[str, ChannelEntry], now: Mapping[str, ChannelEntry]
) -> list[Difference]:
    """Everything held or measured that is other than it was."""
    return [
        row
        for name, channel in now.items()
        if name in before
        for row in _differences(name, _all_of(before[name]), _all_of(channel))
    ]


def _differences(
    channel: str, before: Mapping[str, Value], now: Mapping[str, Value]
) -> Iterator[Difference]:
    for name, value in now.items():
        old = before.get(name)
        if old is None or old == value:
            continue
        change = ""
        if isinstance(old, float) and isinstance(value, float):
            if abs(value - old) <= SAME * max(abs(value), abs(old)):
                continue
            change = f"{100 * (value - old) / old:+.3g} %" if old else ""
        yield Difference(channel, name, shown(old), shown(value), change)


def _all_of(channel: ChannelEntry) -> dict[str, Value]:
    measured: dict[str, Value] = {
        f"{step.name}: {name}": value
        for step in channel.steps
        for name, value in step.values.items()
    }
    return {**channel.held, **measured}
