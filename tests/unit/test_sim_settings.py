"""The [bench] table: what it accepts and what it refuses, with which words."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from sim_hardware.settings import Bench, BenchError, FridgeModel, read_bench
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.fridges import FRIDGES

DEFAULT = Path(__file__).parents[2] / "config" / "bench.toml"


def table(**changes: Any) -> dict[str, Any]:
    """A small bench, with other values at dotted places."""
    bench: dict[str, Any] = {
        "digitizers": {"targets": {"port": 0, "sample_rate_hz": 1e5, "channels": ["C11", "SI"]}},
        "instruments": {"fridge": {"model": "lakeshore372", "port": 0}},
    }
    for place, value in changes.items():
        *path, last = place.split("__")
        at = bench
        for key in path:
            at = at.setdefault(key, {})
        at[last] = value
    return bench


def test_the_default_bench_is_valid_and_survives_the_way_through_json() -> None:
    bench = Bench.model_validate(tomllib.loads(DEFAULT.read_text())["bench"])
    assert Bench.model_validate_json(bench.model_dump_json()) == bench
    assert len(bench.channels) == 11
    assert [bench.kind(c) for c in ("C11", "SI", "CWO")] == ["target", "silicon", "cwo"]


def test_a_bench_without_vetoes_survives_the_way_through_json() -> None:
    bench = Bench.model_validate(table(digitizers__targets__channels=["C11"]))
    assert Bench.model_validate_json(bench.model_dump_json()) == bench


def test_a_crystal_has_its_mass_or_the_usual_one() -> None:
    bench = Bench.model_validate(table(digitizers__targets__channels=["A", "B"], masses_g__A=1.5))
    assert (bench.mass_g("A"), bench.mass_g("B")) == (1.5, 0.75)


def test_a_kind_can_be_given() -> None:
    assert Bench.model_validate(table(kinds__C11="cwo")).kind("C11") == "cwo"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": -1}, "greater than or equal to 0"),
        ({"sources__target_rate_hz": 1.0}, "Extra inputs are not permitted"),
        ({"sources__cevns_min_ev": 0.0}, "greater than or equal to 0.1"),
        ({"sources__gamma_target_share": 1.5}, "less than or equal to 1"),
        ({"sources__reactor_distance_m": 1.0}, "greater than or equal to 3"),
        ({"sources__beam_gate_s": 1e-3, "sources__beam_rate_hz": 1e3}, "close before the next one"),
        ({"sources__beam_rate_hz": 1.0}, "greater than or equal to 2"),
        ({"sources__beam_phase_s": 0.6}, "less than or equal to 0.5"),
        ({"masses_g__C99": 1.0}, "expected masses_g of target channels, found ['C99']"),
        ({"masses_g__SI": 1.0}, "expected masses_g of target channels, found ['SI']"),
        ({"masses_g__C11": 0.0}, "greater than or equal to 0.001"),
        ({"truth_dir": ""}, "at least 1 character"),
        ({"pace": "fast"}, "'clock' or 'flat-out'"),
        ({"speeds": 1}, "Extra inputs are not permitted"),
        ({"start_utc": "tomorrow"}, 'expected "now" or an RFC 3339 time'),
        ({"start_utc": "2026-01-01T00:00:00"}, "with its offset"),
        ({"start_utc": "1969-12-31T00:00:00Z"}, "RFC 3339"),
        ({"start_utc": "2300-01-01T00:00:00Z"}, "RFC 3339"),
        ({"start_utc": 5}, "valid string"),
        ({"kinds__C99": "target"}, "expected kinds of channels there are, found ['C99']"),
        ({"kinds__C11": "lead"}, "'target', 'silicon', 'cwo', 'gate' or 'sync'"),
        ({"sources__muon_rate_hz": -1.0}, "greater than or equal to 0"),
        ({"sources__muon_rate_hz": float("nan")}, "finite number"),
        ({"cryostat__model": "bluefors-ld250"}, "'bluefors-xld400', 'bluefors-xld1000'"),
        ({"cryostat__start": "lukewarm"}, "'cold' or 'warm'"),
        ({"cryostat__base_k": 0.001}, "greater than or equal to 0.002"),
        ({"cryostat__base_k": 0.06}, "less than or equal to 0.05"),
        ({"cryostat__plate_setpoint_k": -0.01}, "greater than or equal to 0"),
        ({"cryostat__plate_setpoint_k": 0.2}, "less than or equal to 0.1"),
        ({"cryostat__plate_setpoint_k": 0.0079}, "base of 0.008 K, found 0.0079 K"),
        ({"cryostat__base_k": 0.012}, "base of 0.012 K, found 0.009837 K"),
        ({"cryostat__base": 0.01}, "Extra inputs are not permitted"),
        ({"digitizers__targets__port": 65536}, "less than or equal to 65535"),
        ({"digitizers__targets__sample_rate_hz": 10.0}, "greater than or equal to 1000"),
        ({"digitizers__targets__sample_rate_hz": 5e6}, "less than or equal to 2000000"),
        ({"digitizers__targets__sample_rate_hz": 1000.5}, "multiple of 1"),
        ({"digitizers__targets__memory_s": 0.0}, "greater than or equal to 0.1"),
        ({"digitizers__targets__clock_ppm": 1001.0}, "less than or equal to 1000"),
        ({"digitizers__targets__channels": []}, "at least 1 item"),
        ({"digitizers__targets__channels": ["A", "A"]}, "each channel once, found A twice"),
        ({"digitizers__fridge": table()["digitizers"]["targets"] | {"channels": ["X"]}},
         "each name once, found fridge twice"),
        ({"digitizers__targets__port": 7777, "instruments__fridge__port": 7777},
         "each port once, found 7777 twice"),
        ({"late": "never"}, "'lose' or 'wait'"),
        ({"instruments__fridge__model": "lakeshore371"}, "'lakeshore372', 'lakeshore370'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Bench.model_validate(table(**changes))
    assert said in str(refused.value)


def test_every_refrigerator_of_the_world_can_be_chosen_and_is_at_rest_by_default() -> None:
    for model in FRIDGES:
        cryostat = Bench.model_validate(table(cryostat__model=model)).cryostat
        assert Cryostat(1, **cryostat.model_dump()).model == model
    assert get_args(FridgeModel) == tuple(FRIDGES)


@pytest.mark.parametrize("given", ["2026-07-01T12:00:00.25+02:00", "2026-07-01T10:00:00.250Z"])
def test_the_start_is_utc_of_sample_zero(given: str) -> None:
    expected = int(datetime(2026, 7, 1, 10, tzinfo=UTC).timestamp()) * 10**9 + 250_000_000
    assert Bench.model_validate(table(start_utc=given)).start_ns(0) == expected


def test_a_start_may_be_a_date_time_of_toml() -> None:
    start = tomllib.loads("start_utc = 2026-07-01T10:00:00Z")
    assert Bench.model_validate(table(**start)).start_ns(0) % 10**9 == 0


def test_now_is_the_time_that_is_given() -> None:
    assert Bench.model_validate(table()).start_ns(123) == 123


def test_a_file_with_mistakes_is_refused_with_all_of_them_and_their_places(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(table(seed=-1, digitizers__targets__port=-5)))
    with pytest.raises(BenchError) as refused:
        read_bench(file)
    assert "  seed: " in str(refused.value)
    assert "  digitizers.targets.port: " in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_file_that_is_no_bench_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bench.json"
    file.write_bytes(content)
    with pytest.raises(BenchError, match="expected a bench, found"):
        read_bench(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="No such file"):
        read_bench(tmp_path / "absent.json")


def test_a_config_is_read_without_what_only_the_simulation_needs():
    """Every service and command reads one: with numba alone each began half a second later."""
    code = (
        "import sys, sim_hardware.settings; "
        "print(*sorted({'numba', 'scipy', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
