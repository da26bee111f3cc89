"""Configs: everything understood once, every mistake said at once with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.errors import SettingsError, UsageError
from daq.model.channel import Channel, TriggerSettings
from daq.services.setup import plan_of, trigger_settings, triggers_of
from daq.settings import units
from daq.settings.loader import load, parse
from daq.settings.sections import Channels, Events, Kinds

BENCH = Path(__file__).parents[2] / "config" / "bench.toml"
GOOD = """
[experiment]
name = "t"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:5601"
[kinds.k]
record_length = 64
pretrigger = 16
triggers = [{ kind = "level", threshold = 60, rearm = 20 }]
[channels]
A = { kind = "k", digitizer = "d", input = 0 }
"""


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(text, Path("x.toml"))
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_the_default_bench_is_all_right():
    settings = load(BENCH)
    assert settings.channel_names == (
        "C11", "C12", "C13", "C21", "C22", "C23", "C31", "C32", "C33", "SI", "CWO",
    )  # fmt: skip
    assert settings.digitizer_names == ("targets", "vetoes")
    assert settings.section(Channels).root["C22"].mass_g == 0.75


def test_a_value_with_a_unit_is_the_key_with_its_suffix():
    text = GOOD + '[events]\ncoincidence_window = "1.5 ms"\n'
    assert parse(text, Path("x")).section(Events).coincidence_window_s == pytest.approx(1.5e-3)


def test_a_suffixed_key_takes_a_text_with_its_unit_too():
    text = GOOD + '[events]\ncoincidence_window_s = "1500 us"\n'
    assert parse(text, Path("x")).section(Events).coincidence_window_s == pytest.approx(1.5e-3)


@pytest.mark.parametrize(
    ("text", "suffix", "value"),
    [
        ("12 mK", "k", 0.012),
        ("0.2 uA", "a", 2e-7),
        ("0.2 µA", "a", 2e-7),
        ("8 h", "s", 28800.0),
        ("10 min", "s", 600.0),
        ("250 kHz", "hz", 250e3),
        ("1e3 ohm", "ohm", 1000.0),
        ("20 eV", "ev", 20.0),
        ("-3 mV", "v", -0.003),
    ],
)
def test_units_are_converted_once(text, suffix, value):
    assert units.convert(text, suffix) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "suffix"), [("12 mA", "k"), ("12", "k"), ("K", "k"), ("1 xK", "k")]
)
def test_a_wrong_dimension_is_refused_with_both_sides(text, suffix):
    with pytest.raises(ValueError, match=f"K.*{text.split()[-1]}"):
        units.convert(text, suffix)


def test_five_mistakes_are_reported_at_once_each_with_line_and_place():
    text = (
        GOOD.replace("record_length = 64", "record_lenght = 64")
        .replace('digitizer = "d"', 'digitizer = "nix"')
        .replace("pretrigger = 16", "pretrigger = -1")
        + '[events]\ncoincidence_window_s = "2 mK"\n[storage]\nrotate_s = 0.0\n'
    )
    found = problems(text)
    for place in (
        "kinds.k.record_lenght: unknown key",
        "kinds.k.record_length: field required",
        "kinds.k.pretrigger: input should be greater than or equal to 8, found -1",
        "channels.A.digitizer: expected one of d, found 'nix'",
        "events.coincidence_window_s: expected a unit of s, found 'mK'",
        "storage.rotate_s: input should be greater than or equal to 0.5, found 0.0",
    ):
        assert any(place in problem for problem in found), (place, found)
    assert len(found) == 6
    assert any(problem.startswith("line 10: kinds.k.record_lenght") is False for problem in found)
    lines = text.splitlines()
    for problem in found:
        number = int(problem.removeprefix("line ").partition(":")[0])
        key = problem.partition(": ")[2].partition(":")[0].split(".")
        assert any(part in lines[number - 1] for part in key)


VETO = 'sources = ["X"]\ntagged = ["k"]\nbefore_s = 0.0\nafter_s = 0.0'


def test_triggers_groups_and_vetoes_are_understood_with_units_and_kinds():
    text = GOOD.replace("rearm = 20 }", 'rearm = 20 }, { kind = "periodic", period = "20 ms" }')
    text += '[events.vetoes.v]\nsources = ["A"]\ntagged = ["k"]\nbefore = "2 ms"\nafter_s = 0.0\n'
    plan = plan_of(parse(text, Path("x")))
    assert (plan.windows[0].tagged, plan.windows[0].before_ns) == (("A",), 2_000_000)
    level, periodic = parse(text, Path("x")).section(Kinds).root["k"].triggers
    assert trigger_settings(periodic, 50_000.0).period == 1000
    assert trigger_settings(level, 1.0).threshold == 60


def test_triggers_that_are_set_in_a_run_are_checked_as_those_of_the_config():
    channel = Channel(
        name="A", digitizer="d", row=0, sample_rate_hz=1e3, decimation=1, record_length=64,
        pretrigger=16, volts_per_count=1.0,
        triggers=(TriggerSettings(kind="external", line="B"),),
    )  # fmt: skip
    external = {"kind": "external", "line": "B"}
    level = {"kind": "level", "threshold": 9.0, "rearm": 3.0}
    assert [t.kind for t in triggers_of([external, level], channel)] == ["external", "level"]
    with pytest.raises(UsageError, match=r"triggers of A: 1.level: .*rearm below the threshold 9"):
        triggers_of([external, level | {"rearm": 9.0}], channel)
    with pytest.raises(UsageError, match=r"external ones to stay .* \[\(0, 'B'\)\], found \[\]"):
        triggers_of([level], channel)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("rearm = 20", "rearm = 60"), "rearm below the threshold 60"),
        (("pretrigger = 16", "pretrigger = 64"), "pretrigger below record_length 64"),
        (("input = 0", "input = true"), "channels.A.input"),
        (("input = 0", 'input = "0"'), "channels.A.input"),
        (('kind = "k"', 'kind = "q"'), "expected one of k, found 'q'"),
        (("[channels]\nA", '[channels]\n"a b"'), "channels.a b"),
        (("[experiment]", "[experimemt]"), "unknown section"),
        (("threshold = 60", "threshold = nan"), "threshold"),
        (('kind = "level", threshold', 'kind = "lever", threshold'), "'level', 'edge', 'random'"),
        (("rearm = 20", "rearm = 20, edge_span = 4"), "edge_span: unknown key"),
        (
            ("pretrigger = 16", "pretrigger = 16\nsecond_pulse_sigma = 6.0"),
            "3 second_pulse_span 24",
        ),
        (
            ("rearm = 20 }", 'rearm = 20 }, { kind = "external", line = "B" }'),
            "one of A, found 'B'",
        ),
        (
            ("rearm = 20 }", 'rearm = 20 }, { kind = "external", line = "A" }'),
            "a line without external triggers, A",
        ),
        (
            ("[channels]", f"[events.vetoes.v]\n{VETO}\n[channels]"),
            "kind that they have, found 'X'",
        ),
        (
            ("[channels]", f"[events.vetoes.v]\n{VETO}\ntiming_s_counts = 1.0\n[channels]"),
            "timing_s_counts for a gate alone",
        ),
        (
            ("[channels]", '[events.groups.g]\nsources = ["A"]\nreceivers = ["Y"]\n[channels]'),
            "events.groups.g.receivers: expected one of the channels A",
        ),
    ],
)
def test_each_mistake_is_named(change, said):
    assert any(said in problem for problem in problems(GOOD.replace(*change)))


def test_two_channels_on_one_input_are_refused():
    text = GOOD + 'B = { kind = "k", digitizer = "d", input = 0 }\n'
    assert any("0 of d is already A's" in p for p in problems(text))


BEYOND = ["tcp://0.0.0.0:5000", "tcp://*:5000", "tcp://daq.example:5000"]


@pytest.mark.parametrize("endpoint", BEYOND)
def test_an_endpoint_beyond_this_machine_needs_keys(endpoint):
    text = GOOD + f'[endpoints]\n"core.blocks" = "{endpoint}"\n'
    assert any("core.blocks" in p and "[security]" in p for p in problems(text))
    guarded = parse(text + '[security]\nkeys = "/home/daq/keys"\n', Path("x.toml"))
    assert guarded.endpoint("core.blocks") == f"{endpoint}#/home/daq/keys"
    assert "#" not in guarded.endpoint("core.state")  # ipc: this machine's own


@pytest.mark.parametrize("endpoint", ["udp://127.0.0.1:1", "tcp://host", "ipc:///tmp/x#/keys"])
def test_an_endpoint_that_is_none_is_refused(endpoint):
    text = GOOD + f'[endpoints]\n"core.blocks" = "{endpoint}"\n'
    assert any("core.blocks" in p and "expected ipc://PATH" in p for p in problems(text))


def test_an_unknown_socket_is_refused():
    text = GOOD + '[endpoints]\n"core.block" = "ipc:///tmp/x"\n'
    assert any("core.block" in p for p in problems(text))


def test_a_number_without_end_is_refused_like_any_other_mistake():
    assert "not TOML: Exceeds the limit" in problems("n = " + "9" * 5000)[0]


def test_what_is_no_toml_is_said_with_its_line():
    assert "line 1" in problems("[experiment\n")[0]


def test_a_config_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"nix\.toml: there is no such config"):
        load(tmp_path / "nix.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)


def test_every_setting_is_described():
    for kind in (Kinds, Channels, Events):
        for schema in (
            kind.model_json_schema()["$defs"].values()
            if "$defs" in kind.model_json_schema()
            else []
        ):
            for name, field in schema.get("properties", {}).items():
                known = "description" in field or "$ref" in field or "const" in field
                assert known, name
