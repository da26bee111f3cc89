"""The report of a run as one HTML file that needs nothing else."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from daq.errors import StorageError
from daq.model.record import LEDGER, titles
from daq.report import galleries, pictures, text
from daq.report.clocks import Clocks
from daq.report.series import all_series
from daq.report.show import causes_of, summarize
from daq.report.source import Loaded, RunSource, Verification, load

MAX_GAPS = 50
MAX_MESSAGES = 50
MAX_PROBLEMS = 100
MAX_SERIES = 500
# farther than this from the data's own time, the moment of recording is told too
REPLAYED_NS = 3600 * 10**9
FILTERS = {
    "quantity": text.quantity,
    "count": text.count,
    "span": text.span,
    "utc": text.utc,
    "color": pictures.SHARE_COLORS.__getitem__,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """One gap, in its digitizer's samples; `t_ns` None where the clock has no anchor."""

    digitizer: str
    t_ns: int | None
    start: int
    samples: int
    seconds: float
    exact: bool
    cause: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One line of the run's own log."""

    t_ns: int
    level: str
    sentence: str


def write_report(run: RunSource, path: Path, verification: Verification | None) -> Path:
    """Write the report of a run, whole or not at all; the same run gives the same bytes."""
    return write_page(path, template("report.html.j2").render(_content(run, verification)))


def write_page(path: Path, page: str) -> Path:
    """Write a page, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageError(f"{path}: the report cannot be written: {error.strerror}") from error
    return path


def template(name: str) -> Template:
    """One of our pages, to be filled."""
    environment = Environment(
        loader=PackageLoader("daq.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals["share"] = text.share
    return environment.get_template(name)


def _content(run: RunSource, verification: Verification | None) -> dict[str, object]:
    loaded = load(run)
    numbers, clocks = summarize(loaded), Clocks(loaded)
    start_ns, stop_ns = clocks.span_ns()
    series = all_series(loaded.readings)
    return {
        "run": numbers,
        "start_ns": start_ns,
        "stop_ns": stop_ns,
        "recorded_ns": run.start_ns,
        "replayed": abs(run.start_ns - start_ns) > REPLAYED_NS,
        "verification": verification,
        "max_problems": MAX_PROBLEMS,
        "causes": {cause: titles(LEDGER)[cause] for cause in causes_of(numbers.channels)},
        "shares": pictures.shares(numbers.channels),
        "galleries": galleries.galleries(loaded, start_ns, stop_ns),
        "readings": galleries.readings(series, run.start_ns),
        "max_readings": galleries.MAX_READINGS,
        "series": series,
        "max_series": MAX_SERIES,
        "gaps": _gaps(loaded, clocks),
        "messages": _messages(loaded),
        "settings": run.settings_toml,
    }


def _gaps(loaded: Loaded, clocks: Clocks) -> list[GapRow]:
    digitizers = loaded.run.digitizers
    return [
        GapRow(
            digitizer=digitizers[gap["digitizer"]].name,
            t_ns=clocks.t_ns(int(gap["digitizer"]), int(gap["start"])),
            start=int(gap["start"]),
            samples=int(gap["stop"] - gap["start"]),
            seconds=float(gap["stop"] - gap["start"]) / digitizers[gap["digitizer"]].rate_hz,
            exact=bool(gap["exact"]),
            cause=text.words(gap["cause"]),
        )
        for gap in loaded.gaps[:MAX_GAPS]
    ]


def _messages(loaded: Loaded) -> list[MessageRow]:
    return [
        MessageRow(int(row["t_ns"]), text.words(row["level"]), text.words(row["text"]))
        for row in loaded.messages[-MAX_MESSAGES:]
    ]
