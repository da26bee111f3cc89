"""Matched triggers in the config, the filters they need, and the copy that a run keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.acquire.filters import Filter
from daq.errors import FormatError, SettingsError, StorageError, UsageError
from daq.readout.calibration import Calibration, Point, fit
from daq.services.calibrate import write_calibration
from daq.services.filterfile import digest_of, keep_filters, kept_filters, write_filters
from daq.services.setup import channels_of, filters_of, triggers_of
from daq.settings.loader import Settings, parse
from daq.wire.schemas import StreamHello
from tests.filters import tes_filter

CONFIG = """
[experiment]
name = "e"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
[kinds.k]
record_length = 512
pretrigger = 128
decimation = 4
triggers = [{{ kind = "matched", holdoff = 7{threshold} }}]
[filters]
file = "{file}"
[channels]
A = {{ kind = "k", digitizer = "d", input = 0 }}
"""
MATCHED = {"kind": "matched", "holdoff": 7, "threshold_sigma": 5.0}
LEVEL = {"kind": "level", "threshold": 60.0, "rearm": 20.0}


def hello(rate_hz: float = 10_000.0) -> StreamHello:
    return StreamHello(
        digitizer="d", epoch="e", channels=["a"], rate_hz=rate_hz, volts_per_count=1.0, oldest=0,
        newest=0,
    )  # fmt: skip


def config(file: Path | str, threshold: str = "threshold_sigma = 5.0") -> Settings:
    more = f", {threshold}" if threshold else ""
    return parse(CONFIG.format(file=file, threshold=more), Path("e.toml"))


def settings(tmp_path: Path, filters: dict[str, Filter], **more: str) -> Settings:
    write_filters(tmp_path / "f", filters)
    return config(tmp_path / "f", **more)


@pytest.mark.parametrize("falling", [False, True])
def test_a_threshold_in_sigma_or_ev_is_one_in_counts(tmp_path, falling):
    one = tes_filter(counts_per_ev=3.0, falling=falling)
    for threshold, counts in (("threshold_sigma = 5", 5 * one.sigma), ("threshold_ev = 20", 60.0)):
        given = settings(tmp_path, {"A": one}, threshold=threshold + ".0")
        (channel,) = channels_of(given, hello(), filters_of(given))
        assert channel.triggers[0].threshold == pytest.approx(counts)
        assert channel.triggers[0].holdoff == 7
        assert channel.direction == ("falling" if falling else "rising")


@pytest.mark.parametrize(
    ("threshold", "found"), [("", "neither"), ("threshold_sigma = 5.0, threshold_ev = 2.0", "both")]
)
def test_both_thresholds_or_none_are_refused(threshold, found):
    text = f"kinds.k.triggers.0.matched: expected threshold_sigma or threshold_ev, found {found}"
    with pytest.raises(SettingsError, match=text):
        config("f", threshold)


def test_a_matched_trigger_without_a_file_is_refused():
    with pytest.raises(SettingsError, match=r"kinds\.k\.triggers: expected filters\.file"):
        config("")


def test_two_matched_triggers_are_refused():
    more = 'threshold_sigma = 5.0 }, { kind = "matched", threshold_sigma = 6.0'
    with pytest.raises(SettingsError, match=r"kinds\.k: expected at most one matched .* found 2"):
        config("f", more)


def test_a_file_that_is_missing_or_no_filters_is_named(tmp_path):
    with pytest.raises(FormatError, match=f"{tmp_path}/none: expected a file of filters"):
        filters_of(config(tmp_path / "none"))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FormatError, match=f"{tmp_path}/text: expected a file of filters"):
        filters_of(config(tmp_path / "text"))


@pytest.mark.parametrize(
    ("filters", "threshold", "said"),
    [
        ({"B": {}}, "threshold_sigma = 5.0", "expected a filter for A, found none"),
        (
            {"A": {"length": 256}},
            "threshold_sigma = 5.0",
            "filter of A for records of 512 samples, 128 before the trigger, found 256 and 128",
        ),
        ({"A": {"pretrigger": 100}}, "threshold_sigma = 5.0", "found 512 and 100"),
        ({"A": {}}, "threshold_ev = 5.0", "filter of A: expected a filter with counts_per_ev"),
    ],
)
def test_a_filter_that_does_not_fit_its_channel_is_refused(tmp_path, filters, threshold, said):
    made = {name: tes_filter(**more) for name, more in filters.items()}
    with pytest.raises(UsageError, match=said):
        filters_of(settings(tmp_path, made, threshold=threshold))


def test_a_filter_for_another_rate_is_refused_when_the_digitizer_says_its_own(tmp_path):
    given = settings(tmp_path, {"A": tes_filter()})
    with pytest.raises(UsageError, match=r"channels\.A: expected .* of 2000 Hz, found .* 2500 Hz"):
        channels_of(given, hello(8000.0), filters_of(given))


def test_in_a_run_a_matched_trigger_stays_as_it_is(tmp_path):
    one = tes_filter()
    given = settings(tmp_path, {"A": one})
    (channel,) = channels_of(given, hello(), filters_of(given))
    assert len(triggers_of([MATCHED | {"holdoff": 9}, LEVEL], channel, one)) == 2
    for other in ([], [LEVEL, MATCHED], [MATCHED | {"threshold_sigma": 6.0}]):
        with pytest.raises(UsageError, match="expected the matched one to stay as it is"):
            triggers_of(other, channel, one)


def test_a_run_finds_the_filters_that_it_began_with(tmp_path):
    filters = {"A": tes_filter(), "B": tes_filter(rms=3.0)}
    keep_filters(tmp_path, filters)
    digest = digest_of(filters)
    found = kept_filters(tmp_path, digest)
    assert {n: f.content_hash for n, f in found.items()} == {
        n: f.content_hash for n, f in filters.items()
    }
    assert kept_filters(tmp_path, "") == {}


def test_filters_of_a_run_that_are_gone_or_others_are_named(tmp_path):
    filters = {"A": tes_filter()}
    keep_filters(tmp_path, filters)
    (path,) = tmp_path.iterdir()
    write_filters(path, {"A": tes_filter(rms=3.0)})
    with pytest.raises(StorageError, match=f"{path}: expected the filters .* found"):
        kept_filters(tmp_path, digest_of(filters))
    path.unlink()
    with pytest.raises(StorageError, match=f"{path}: expected a file of filters"):
        kept_filters(tmp_path, digest_of(filters))


def test_a_threshold_in_ev_is_by_the_calibration_where_the_filter_has_no_gain(tmp_path):
    write_filters(tmp_path / "f", {"A": tes_filter()})
    curve = fit("A", "amplitude", [Point(20.0, 60.0, 0.1)])
    write_calibration(tmp_path / "cal.json", Calibration([curve]))
    text = CONFIG.format(file=tmp_path / "f", threshold=", threshold_ev = 20.0")
    with pytest.raises(UsageError, match="filter of A: expected a filter with counts_per_ev"):
        filters_of(parse(text, tmp_path / "e.toml"))
    text = text.replace('name = "e"', 'name = "e"\ncalibration = "cal.json"')
    given = parse(text, tmp_path / "e.toml")
    filters = filters_of(given)
    assert filters["A"].sigma_ev == pytest.approx(tes_filter().sigma / 3.0)
    (channel,) = channels_of(given, hello(), filters)
    assert channel.triggers[0].threshold == pytest.approx(60.0)
