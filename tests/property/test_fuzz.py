"""Nonsense from outside ends in one named refusal: configs, messages, paths of runs.

`make long` gives each of these tests many more examples. The log is fuzzed in
test_store_log_damage.py, replies of instruments in test_drivers_replies.py.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daq.errors import FormatError, ScheeliteError, SettingsError, UsageError, WireError
from daq.services.core import run_folder
from daq.services.demo import default_config
from daq.settings.loader import load, parse
from daq.store import names
from daq.wire import codec, schemas
from daq.wire.schemas import Message

CONFIG = default_config().read_text(encoding="utf-8")
LINES = CONFIG.splitlines()
ODD = (
    *("nan", "-inf", "-1", "1e400", "true", "[]", "{}", '""', '"\\u0000"', "[[1]]", "0x10"),
    *('"12 parsec"', '"../../etc/passwd"', "2026-11-26", "99999999999999999999", "9" * 5000),
)
DATA = Path("/srv/data")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def kinds() -> list[type[Message]]:
    """Every message there is."""
    known = [k for k in vars(schemas).values() if isinstance(k, type) and issubclass(k, Message)]
    return [kind for kind in known if kind is not Message]


# --- configs ---


@st.composite
def edited(draw: st.DrawFn) -> str:
    """The default config after some bad edits."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        key, equals, _ = lines[at].partition("=")
        match draw(st.integers(0, 4)):
            case 0:
                del lines[at]
            case 1:
                lines[at] = key + equals + draw(st.sampled_from(ODD))
            case 2:
                lines.insert(at, lines[draw(st.integers(0, len(lines) - 1))])
            case 3:
                lines[at] = lines[at][: draw(st.integers(0, 20))]
            case _:
                lines[at] = draw(st.text(max_size=40))
    return "\n".join(lines)


def judged(text: str) -> None:
    """Understood, or refused with its place and at least one sentence."""
    refused = ""
    try:
        parse(text, Path("some.toml"))
    except SettingsError as error:
        refused = str(error)
    assert not refused or (refused.startswith("some.toml") and len(refused) > len("some.toml: "))


@settings(max_examples=40)
@given(edited())
def test_a_config_with_any_edit_is_understood_or_refused(text: str) -> None:
    judged(text)


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b"\xff\xfe\x00")
@example(b"a." * 2000 + b"b = 1")
@example(b"x = " + b"[" * 5000)
def test_a_file_of_any_bytes_is_no_config(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        load(path)


# --- messages ---


@given(st.sampled_from(kinds()), st.dictionaries(st.text(max_size=12), JSON, max_size=5), st.data())
def test_a_message_with_any_values_is_understood_or_refused(
    kind: type[Message], more: dict[str, object], data: st.DataObject
) -> None:
    fields = data.draw(st.dictionaries(st.sampled_from(kind.__struct_fields__), JSON, max_size=9))
    tag = kind.__struct_config__.tag
    frame = msgspec.json.encode({**more, **fields, "schema": tag, "version": 1})
    with contextlib.suppress(WireError):
        codec.decode(frame, kind)


# --- paths ---


@given(st.text(max_size=60) | st.sampled_from(["../run_000001", "/etc", "run_000001\n", "run_1"]))
def test_a_run_is_written_below_the_data_folder_or_nowhere(asked: str) -> None:
    for given_path in (asked, f"{DATA}/{asked}", f"{DATA}/run_000001/{asked}"):
        try:
            folder = run_folder(DATA, 1, given_path)
        except UsageError:
            continue
        assert folder == DATA / "run_000001"
        assert given_path == str(folder)


@given(st.text(max_size=60))
@example("run_000001\n")
@example("run_000001/..")
@example("run_²²²²²²")
def test_only_the_name_of_a_run_is_one(name: str) -> None:
    with contextlib.suppress(FormatError):
        number = names.run_number(Path(name))
        assert names.RUN.fullmatch(Path(name).name)
        assert number >= 0


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "test",
    [
        test_a_config_with_any_edit_is_understood_or_refused,
        test_a_message_with_any_values_is_understood_or_refused,
        test_a_run_is_written_below_the_data_folder_or_nowhere,
        test_only_the_name_of_a_run_is_one,
    ],
    ids=lambda test: test.__name__,
)
def test_much_more_nonsense(test: Callable[[], None]) -> None:
    settings(max_examples=5_000, deadline=None)(test)()


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["message", "log", "config"])
def test_nonsense_guided_by_what_it_reaches(what: str) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: pip install '.[fuzz]'")
    command = [sys.executable, "-m", "tests.faults.guided", what, "-runs=50000", "-seed=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 50000 runs" in done.stderr


def test_refusals_are_errors_of_ours() -> None:
    assert all(issubclass(kind, ScheeliteError) for kind in (SettingsError, WireError, FormatError))
