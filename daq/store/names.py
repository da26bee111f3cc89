"""Where the files of a run lie, and what they are called."""

from __future__ import annotations

import re
from pathlib import Path

from daq.errors import FormatError
from daq.store import disk

RUN = re.compile(r"run_(\d{6,})")
LOG = re.compile(r"(\d{6,})\.log")
DAMAGED = re.compile(r"(\d{6,})\.damaged")
SEGMENT = re.compile(r"segment_(\d{6,})\.h5")
RESTRICTED = re.compile(r"restricted_(\d{6,})\.h5")
DRAFT = re.compile(r"segment_(\d{6,})\.h5\.part")
FILTERS = re.compile(r"filters-[0-9a-f]{16}")
DAMAGED_SEGMENT = re.compile(r"segment_(\d{6,})\.damaged")


def run_folder(data_dir: Path, run: int) -> Path:
    """The folder of a run, which may not exist."""
    return data_dir / f"run_{run:06d}"


def run_number(folder: Path) -> int:
    """The run that a folder is named after; FormatError where it is named otherwise."""
    found = RUN.fullmatch(folder.name)
    if found is None:
        raise FormatError(f"{folder}: expected a run folder such as run_000123")
    return int(found[1])


def run_folders(data_dir: Path) -> dict[int, Path]:
    """Run number -> folder, in the order of the numbers."""
    return {run: path for run, path in _numbered(data_dir, RUN).items() if path.is_dir()}


def log_folder(folder: Path) -> Path:
    """Where the write-ahead log of a run lies until it is folded."""
    return folder / "log"


def log_path(folder: Path, index: int) -> Path:
    """One file of a run's write-ahead log."""
    return log_folder(folder) / f"{index:06d}.log"


def segment_path(folder: Path, index: int) -> Path:
    """The sealed file made of the log file with the same number."""
    return folder / f"segment_{index:06d}.h5"


def restricted_path(folder: Path, index: int) -> Path:
    """What the same log file held that is kept from everybody; there where it held any."""
    return folder / f"restricted_{index:06d}.h5"


def restricted(folder: Path) -> dict[int, Path]:
    """Number -> path of the restricted files, in order."""
    return _numbered(folder, RESTRICTED)


def master_path(folder: Path) -> Path:
    """The file whose datasets are views over all segments."""
    return folder / f"{folder.name}.h5"


def manifest_path(folder: Path) -> Path:
    """What a complete run consists of, with sums."""
    return folder / "manifest.json"


def complete_path(folder: Path) -> Path:
    """The marker that is written last."""
    return folder / "complete"


def filters_path(folder: Path, digest: str) -> Path:
    """The filters that a run began with, whose SHA-256 in hex is `digest`."""
    return folder / f"filters-{digest[:16]}"


def filters(folder: Path) -> list[Path]:
    """The files of filters in a run's folder: those it began with, and all that were loaded."""
    found = (path for path in folder.iterdir() if FILTERS.fullmatch(path.name))
    return sorted(path for path in found if path.is_file())


def logs(folder: Path) -> dict[int, Path]:
    """Number -> path of the log files not folded yet, in order."""
    return _numbered(log_folder(folder), LOG)


def damaged_logs(folder: Path) -> dict[int, Path]:
    """Number -> path of the log files that were folded and kept, for they were damaged."""
    return _numbered(log_folder(folder), DAMAGED)


def segments(folder: Path) -> dict[int, Path]:
    """Number -> path of the sealed segments, in order."""
    return _numbered(folder, SEGMENT)


def drafts(folder: Path) -> dict[int, Path]:
    """Number -> path of segments that never got their name."""
    return _numbered(folder, DRAFT)


def damaged_segments(folder: Path) -> dict[int, Path]:
    """Number -> path of the segments that were salvaged, as they were found."""
    return _numbered(folder, DAMAGED_SEGMENT)


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    with disk.naming("list", folder):
        found = [(pattern.fullmatch(path.name), path) for path in folder.iterdir()]
    return dict(sorted((int(match[1]), path) for match, path in found if match))
