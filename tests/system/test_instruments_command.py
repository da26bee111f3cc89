"""`scheelite instruments` and `scheelite init`, as somebody at the bench types them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daq.settings import loader
from drivers.settings import Instruments
from drivers.temperature.lakeshore372 import Lakeshore372
from tests.line_server import Deed, LineServer
from tests.served_bench import serving
from tests.system.chain import SCHEELITE, bench, cli, cli_json, cli_rows, services

ROOT = Path(__file__).parents[2]
ROW = ["instrument", "parameter", "value", "unit", "source", "t_ns"]
CONFIG = """
[experiment]
name = "test"
[kinds.target]
record_length = 1024
pretrigger = 256
triggers = [{{ kind = "level", threshold = 40.0, rearm = 20.0, holdoff = 512 }}]
[digitizers.targets]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:5601"
[channels]
C1 = {{ kind = "target", digitizer = "targets", input = 0 }}
[instruments.fridge]
model = "{model}"
resource = "{fridge}"
channels = [6]
[instruments.squids]
model = "magnicon-xxf1"
resource = "{squids}"
"""


@pytest.fixture(scope="module")
def resources(tmp_path_factory):
    models = {"fridge": "lakeshore372", "squids": "magnicon-xxf1"}
    with serving(models, tmp_path_factory.mktemp("bench")) as found:
        yield found


@pytest.fixture
def config(runtime, resources, tmp_path):
    """A config of its own, of which nothing is up."""
    return written(tmp_path, **resources)


def written(folder, *, fridge, squids, model="lakeshore372"):
    path = folder / "lab.toml"
    path.write_text(CONFIG.format(fridge=fridge, squids=squids, model=model))
    return path


def instruments(*arguments, config):
    return cli("instruments", *arguments, "--config", config)


# --- directly, with --config


@pytest.fixture
def wide(runtime):
    """Surroundings in which a table has room."""
    return {**os.environ, "COLUMNS": "200"}


def test_list_says_units_and_ranges(config, wide):
    listed = cli("instruments", "list", "--config", config, env=wide).stdout
    assert "fridge: lakeshore372 at TCPIP::127.0.0.1::" in listed
    (setpoint,) = [line for line in listed.splitlines() if "Temperature to hold" in line]
    assert "0 to 2 K" in setpoint
    assert "read, written" in setpoint
    assert "squid {1 to 2}.mode" in listed
    assert "OPEN | LOCKED" in listed


def test_list_is_json_for_machines(config):
    found = cli_json("instruments", "list", "fridge", "--config", config)["instruments"]
    assert list(found) == ["fridge"]
    by_name = {each["name"]: each for each in found["fridge"]["parameters"]}
    datatype = by_name["setpoint"]["datatype"]
    assert (datatype["unit"], datatype["minimum"], datatype["maximum"]) == ("K", 0, 2)
    assert "input 6.temperature" in by_name


def test_read_gives_value_unit_source_and_time(config):
    before = time.time_ns()
    rows = cli_rows(
        "instruments", "read", "fridge", "input 6.temperature", "scan", "--config", config
    )
    assert [list(row) for row in rows] == [ROW] * 3
    assert [row["parameter"] for row in rows] == ["input 6.temperature", "scan.input", "scan.auto"]
    assert (rows[0]["unit"], rows[0]["source"], rows[0]["instrument"]) == ("K", "read", "fridge")
    assert 0 < rows[0]["value"] < 0.1
    assert before < rows[0]["t_ns"] < time.time_ns()


def test_read_without_a_parameter_reads_all(config):
    rows = cli_rows("instruments", "read", "squids", "--config", config)
    units = {row["parameter"]: row["unit"] for row in rows}
    assert units["squid 1.ib"] == units["squid 2.ib"] == "uA"
    assert {row["source"] for row in rows} >= {"read", "error"}  # a shadow nobody has written yet
    assert all(row["text"] for row in rows if row["source"] == "error")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fridge", "setpoint", "0.0125"], "fridge.setpoint = 0.0125 K"),
        (["fridge", "heater_range", "MA_1"], "fridge.heater_range = MA_1"),
        (["fridge", "control", "integral=31"], "fridge.control.integral = 31 s"),
        (["fridge", "input 6.name", "mixing"], "fridge.input 6.name = mixing"),
        (["squids", "squid 1.feedback", "30"], "squids.squid 1.feedback = 30 kohm"),
        (["squids", "squid 1.phib", "--", "-10"], "squids.squid 1.phib = -9.97"),
        (["squids", "box 3.coil_connected", "off"], "squids.box 3.coil_connected = off"),
    ],
)
def test_write_prints_what_the_instrument_then_holds(config, words, said):
    done = cli("instruments", "write", "--config", config, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert any(line.startswith(said) for line in done.stdout.splitlines()), done.stdout


def test_watch_prints_an_object_per_line(config):
    command = ["instruments", "watch", "fridge", "setpoint", "input 6.temperature"]
    done = cli(*command, "--every", "0.05", "--count", "3", "--json", "--config", config)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["parameter"] for row in rows] == ["setpoint", "input 6.temperature"] * 3
    assert [list(row) for row in rows] == [ROW] * 6
    assert sorted({row["t_ns"] for row in rows}) == [row["t_ns"] for row in rows]


def test_ctrl_c_ends_a_watch_in_good_order(config):
    command = [SCHEELITE, "instruments", "watch", "fridge", "setpoint", "--config", config]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline().startswith("fridge.setpoint = ")
        child.send_signal(2)
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()  # nothing, where it has ended
        child.wait()
    assert (child.returncode, said) == (0, "")


def test_a_watch_goes_on_when_the_line_was_lost(runtime, tmp_path):
    lost = iter([Deed.CLOSE, Deed.CLOSE])

    def answer(line):
        if line == "*IDN?":
            return b"LSCI,MODEL372,SIM,1\r\n"
        return next(lost, b"+12.0000E-03\r\n")

    server = LineServer(answer)
    try:
        config = written(tmp_path, fridge=server.tcp, squids=server.serial)
        watching = ["watch", "fridge", "setpoint", "--every", "0.2", "--count", "2", "--json"]
        done = instruments(*watching, config=config)
    finally:
        server.close()
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["source"], row["value"]) for row in rows] == [("error", None), ("read", 0.012)]
    assert rows[0]["text"].startswith("lost ")


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["read", "oven"], "expected one of the instruments fridge, squids, found 'oven'"),
        (["list", "oven"], "expected one of the instruments fridge, squids, found 'oven'"),
        (["watch", "fridge", "x"], "expected one of 32 parameters such as scan, "),
        (["read", "fridge", "x"], "expected one of 32 parameters such as scan, "),
        (["write", "fridge", "setpiont", "1"], "expected one of 32 parameters such as setpoint, "),
        (["write", "fridge", "setpoint"], "setpoint: expected one value (0 to 2 K), found 0"),
        (["write", "fridge", "setpoint", "hot"], "setpoint: expected 0 to 2 K, found 'hot'"),
        (["write", "fridge", "setpoint", "300"], "300 K is outside 0 to 2 K"),
        (["write", "fridge", "heater_range", "MA_2"], "expected one of OFF, UA_31_6, UA_100, "),
        (["write", "fridge", "scan", "6"], "scan: expected some of input=VALUE, auto=VALUE, found"),
        (["write", "fridge", "scan", "input=17"], "input: 17 is outside 1 to 16"),
        (["write", "fridge", "heater_output", "1"], "heater_output cannot be written: it is only"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_reaches_nobody(
    runtime, tmp_path, arguments, sentence
):
    server = LineServer(lambda line: b"LSCI,MODEL372,X,1\r\n")
    try:
        config = written(tmp_path, fridge=server.tcp, squids=server.serial)
        done = instruments(*arguments, config=config)
    finally:
        server.close()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"scheelite: {sentence}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (server.connections, server.heard) == (0, [])


def one_sentence(done, *parts):
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def test_a_host_that_cannot_be_reached_is_one_sentence(config, resources, tmp_path):
    nowhere = written(tmp_path, fridge="TCPIP::127.0.0.1::1::SOCKET", squids=resources["squids"])
    for parameters in (["setpoint"], []):
        done = instruments("read", "fridge", *parameters, config=nowhere)
        one_sentence(done, "cannot reach TCPIP::127.0.0.1::1::SOCKET: the connection was refused")
    unknown = written(
        tmp_path, fridge="TCPIP::no.such.host.invalid::1::SOCKET", squids="ASRL/x::INSTR"
    )
    done = instruments("write", "fridge", "setpoint", "0.1", config=unknown)
    one_sentence(done, "cannot reach TCPIP::no.such.host.invalid::1::SOCKET: ")


def test_a_serial_port_that_is_not_there_is_one_sentence(config, resources, tmp_path):
    nowhere = written(tmp_path, fridge="ASRL/dev/no_such_port::INSTR", squids=resources["squids"])
    done = instruments("read", "fridge", "setpoint", config=nowhere)
    one_sentence(done, "cannot reach ASRL/dev/no_such_port::INSTR: ", "No such file or directory")


def test_the_wrong_instrument_is_one_sentence_that_names_both(config, resources, tmp_path):
    other = written(tmp_path, **resources, model="lakeshore336")
    text = other.read_text().replace("channels = [6]\n", "")
    other.write_text(text)
    done = instruments("read", "fridge", "input A.temperature", config=other)
    one_sentence(done, "LSCI,MODEL336", "LSCI,MODEL372,SIM0372")


def test_a_port_where_nobody_answers_is_one_sentence(runtime, tmp_path):
    server = LineServer(lambda line: Deed.SILENCE)
    try:
        config = written(tmp_path, fridge=server.tcp, squids=server.serial)
        done = instruments("read", "fridge", "setpoint", config=config)
    finally:
        server.close()
    one_sentence(done, "expected a reply within 1 s, found nothing: ", "at '*IDN?'")


def test_without_services_and_config_it_says_what_to_do(runtime):
    done = cli("instruments", "read", "fridge")
    assert done.returncode == 2
    assert done.stderr.startswith("scheelite: nothing is up: give --config CONFIG")


# --- through the service


def test_with_the_services_up_it_goes_through_their_service(runtime, tmp_path, wide):
    with bench(tmp_path) as config, services(config):
        (written_,) = cli_rows("instruments", "write", "fridge", "setpoint", "0.0123")
        assert [*written_][:6] == ROW
        assert (written_["value"], written_["unit"], written_["source"]) == (0.0123, "K", "read")
        rows = cli_rows("instruments", "read", "fridge", "setpoint", "control")
        assert rows[0]["value"] == 0.0123
        assert [row["unit"] for row in rows] == ["K", "", "s", "s"]
        assert "0 to 2 K" in cli("instruments", "list", "fridge", env=wide).stdout
        watched = cli("instruments", "watch", "fridge", "setpoint", "--count", "1", "--json")
        assert json.loads(watched.stdout)["parameter"] == "setpoint"
        for words, sentence in (
            (["setpoint", "3"], "fridge.setpoint: 3 is outside 0 to 0.1"),
            (["setpiont", "3"], "expected one of 65 parameters such as setpoint, "),
        ):
            done = cli("instruments", "write", "fridge", *words)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"scheelite: {sentence}")
        # the config that is up is not spoken to behind the back of its service
        assert cli_rows("instruments", "read", "fridge", "setpoint", "--config", config) != []


# --- pytest --bench


def report_on(config):
    """The contract tests of parameters against the instruments of a config."""
    command = [sys.executable, "-W", "error", "-m", "pytest", "-qrfs", "-p", "no:cacheprovider",
               "tests/contract/test_every_parameter.py", "-k", "answered or holds"]  # fmt: skip
    return subprocess.run(
        [*command, "--bench", str(config)], capture_output=True, text=True, check=False, cwd=ROOT
    ).stdout


IMPOSSIBLE = ["setpoint = [3.0]", "oven = [1]", '"input 6.temperature" = [1]']


def test_a_bench_of_real_instruments_is_written_what_its_config_allows(config, resources):
    """What cannot be is allowed at instruments of its own, in the same run: to begin one is what
    takes long."""
    with contextlib.closing(Lakeshore372(resources["fridge"], channels=[6])) as fridge:
        before = fridge.setpoint.write(0.011), fridge.control.read()
        safe = '[instruments.fridge.safe]\nsetpoint = [0.010, 0.012]\n"control.integral" = [25]\n'
        impossible = "".join(
            f'[instruments.wrong{n}]\nmodel = "lakeshore372"\n'
            f'resource = "{resources["fridge"]}"\nchannels = [6]\n'
            f"[instruments.wrong{n}.safe]\n{line}\n"
            for n, line in enumerate(IMPOSSIBLE)
        )
        config.write_text(config.read_text() + safe + impossible)
        said = report_on(config)
        assert "3 failed, 6 passed, 1 skipped" in said, said
        for n in range(len(IMPOSSIBLE)):
            assert f"test_every_parameter_holds_what_is_written[wrong{n}] " in said, said
        assert "its config has no table `safe`" in said  # the SQUIDs were only read
        assert (fridge.setpoint.read(), fridge.control.read()) == before


# --- init


def test_init_asks_the_instruments_who_they_are(runtime, resources, tmp_path):
    path = tmp_path / "lab.toml"
    done = cli("init", path, "--yes", "--resource", resources["fridge"])
    assert done.returncode == 0, done.stderr
    assert "found 'LSCI,MODEL372,SIM0372" in done.stdout
    found = loader.load(path).section(Instruments).root
    assert [(name, each.model) for name, each in found.items()] == [
        ("lakeshore372", "lakeshore372")
    ]
    assert cli("instruments", "read", "lakeshore372", "setpoint", "--config", path).returncode == 0


def test_init_takes_what_is_answered(runtime, resources, tmp_path):
    path = tmp_path / "lab.toml"
    answers = [
        "nucleus", "/srv/runs", "scheelite-stream", "tcp://10.0.0.7:5601", "C11, C12",
        resources["fridge"], "lakeshore372", "fridge",
        resources["squids"], "magnicon-xxf1", "squids", "",
    ]  # fmt: skip
    done = cli("init", path, input="\n".join([*answers, ""]))
    assert done.returncode == 0, done.stderr
    settings = loader.load(path)
    assert settings.channel_names == ("C11", "C12")
    assert list(settings.section(Instruments).root) == ["fridge", "squids"]
    assert cli("config", "check", path).returncode == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--resource", "COM1"], "expected a resource like TCPIP::"),
        (["--resource", "TCPIP::127.0.0.1::1::SOCKET"], "TCPIP::127.0.0.1::1::SOCKET: expected an"),
    ],
)
def test_init_writes_nothing_that_it_is_not_sure_of(runtime, tmp_path, options, sentence):
    path = tmp_path / "lab.toml"
    done = cli("init", path, "--yes", *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"scheelite: {sentence}")
    assert not path.exists()


def test_init_leaves_a_file_that_is_there(runtime, tmp_path):
    path = tmp_path / "lab.toml"
    path.write_text("mine")
    done = cli("init", path, "--yes")
    assert (done.returncode, path.read_text()) == (2, "mine")
    assert "expected a file that is not there yet, found one" in done.stderr


def test_init_says_what_is_wrong_with_an_answer(runtime, tmp_path):
    path = tmp_path / "lab.toml"
    done = cli("init", path, input="lab\nruns\nno-such-digitizer\nx\nC1\n\n")
    assert done.returncode == 2
    assert "digitizers.targets.model: expected one of the models" in done.stderr
    assert not path.exists()
