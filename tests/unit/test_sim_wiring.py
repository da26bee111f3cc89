"""Which wires a bench takes, and which it refuses: with the place and the reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sim_hardware.bench import OpenBench
from sim_hardware.settings import Bench, BenchError
from sim_hardware.world.squid_parameters import SquidParameters
from tests.wired_bench import spec


# Any: the [bench] table
def changed(**changes: Any) -> dict[str, Any]:
    table = spec(1e4, ("C11", "C12", "SI"))
    table["wiring"]["squids"] = {"C11": "squids0:1", "C12": "squids0:2"}
    for place, value in changes.items():
        *path, last = place.split("__")
        at = table
        for key in path:
            at = at.setdefault(key, {})
        at[last] = value
    return table


def test_a_wired_bench_survives_the_way_through_json() -> None:
    bench = Bench.model_validate(changed())
    assert Bench.model_validate_json(bench.model_dump_json()) == bench


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"wiring__squids__C12": "squids7:1"},
         "wiring: squids.C12: expected an instrument magnicon-xxf1 or starcryo-pfl102 as squids7, "
         "found no instrument of that name"),
        ({"wiring__squids__C12": "fridge:1"}, "as fridge, found lakeshore372"),
        ({"wiring__squids__C12": "squids0:3"},
         "squids.C12: expected a channel of magnicon-xxf1 (1, 2), found 3"),
        ({"wiring__squids__C12": "squids0:1"},
         "squids: expected one channel at squids0:1, found C11, C12"),
        ({"wiring__squids__SI": "squids0:2"},
         "squids.SI: expected a channel of kind target, found silicon"),
        ({"wiring__squids__C99": "squids0:2"}, "found none of that name"),
        ({"wiring__squids__C12": "squids0"},
         "expected \"instrument:channel\", found 'squids0'"),
        ({"wiring__heater": "pulser:3"},
         "heater: expected a channel of keysight33500b (1, 2), found 3"),
        ({"wiring__bias": "squids0:1"},
         "bias: expected an instrument keysight33500b as squids0, found magnicon-xxf1"),
        ({"wiring__sync__C11": "pulser:1"},
         "sync.C11: expected a channel of kind sync, found target"),
        ({"wiring__heater_ohm": 0.0}, "greater than or equal to 1"),
        ({"wiring__sqids": {}}, "Extra inputs are not permitted"),
        ({"speed": 0.0}, "greater than 0"),
        ({"speed": 1e4}, "less than or equal to 1000"),
        ({"speed": 2.0}, "expected speed with pace clock alone, found 2"),
        ({"initial": "warm"}, "'tuned' or 'detuned'"),
        ({"spread": 0.6}, "less than or equal to 0.5"),
        ({"tes__C99__tc_k": 0.015}, "tes: expected target channels, found ['C99']"),
        ({"tes__SI__tc_k": 0.015}, "tes: expected target channels, found ['SI']"),
        ({"squid__C99__knee_hz": 1.0}, "squid: expected target channels, found ['C99']"),
        ({"tes__all__tc": 0.015}, "C11: tes: expected some of r_normal_ohm"),
        ({"tes__C12__tc_k": -1.0}, "C12: tc_k: expected 0.001 to 1"),
        ({"tes__C12__width_k": 0.009},
         "C12: width_k: expected at most half of tc_k 0.015"),
        ({"tes__C12__bias_a": 1.0}, "C12: bias_a: expected 0 to 0.000125, found 1"),
        ({"tes__C12__heater_w": -1e-15}, "C12: heater_w: expected 0 to 1e-09, found -1e-15"),
        ({"squid__all__polarity": 0.0}, "polarity: expected -1 or 1, found 0"),
        ({"squid__all__bandwidth_hz": 0.0}, "C11: bandwidth_hz: expected 1 to"),
    ],
)  # fmt: skip
def test_what_cannot_be_wired_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Bench.model_validate(changed(**changes))
    assert said in str(refused.value)


def test_a_bias_too_large_for_the_working_point_is_refused() -> None:
    bench = Bench.model_validate(changed(tes__C12__bias_a=50e-6))
    with pytest.raises(BenchError, match=r"tes\.C12: expected a bias that leaves something"):
        OpenBench(bench)


def test_parameters_of_one_channel_come_before_those_of_all() -> None:
    table = changed(tes__all__tc_k=0.016, tes__C12__tc_k=0.014, squid__C12__knee_hz=5.0)
    bench = Bench.model_validate(table)
    assert (bench.sensor("C11").tes.tc_k, bench.sensor("C12").tes.tc_k) == (0.016, 0.014)
    assert bench.sensor("C12").squid.knee_hz == 5.0
    assert bench.sensor("C11").squid == SquidParameters()
