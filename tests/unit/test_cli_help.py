"""What the command line says of itself: units stand in brackets, which must be seen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from daq.services.cli import app


def with_units(
    command: object, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Commands with what they say in brackets of their options."""
    for name, each in getattr(command, "commands", {}).items():
        yield from with_units(each, (*path, name))
    helps = " ".join(getattr(p, "help", None) or "" for p in getattr(command, "params", []))
    yield from ((path, unit) for unit in sorted(set(re.findall(r"\[[^\]]+\]", helps))))


SAID = list(with_units(get_command(app)))


def test_there_are_units() -> None:
    assert (("demo",), "[s]") in SAID


@pytest.mark.parametrize("path", sorted({path for path, _ in SAID}), ids=" ".join)
def test_help_shows_what_stands_in_brackets(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"}).output
    assert [unit for at, unit in SAID if at == path and unit not in shown] == []
