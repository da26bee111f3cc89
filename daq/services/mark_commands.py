"""`scheelite run pause|resume|comment|label`: what an operator writes into the run in progress."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


def pause(json_: AsJson = False) -> None:
    """Make no more records until it is resumed; the time counts as dead, as "paused"."""
    _mark("pause", {}, "is paused", json_)


def resume(json_: AsJson = False) -> None:
    """Make records again."""
    _mark("resume", {}, "is being recorded", json_)


def comment(
    text: Annotated[str, typer.Argument(help="One sentence of up to 160 characters.")],
    json_: AsJson = False,
) -> None:
    """Write a sentence into the run, with its time and who says it."""
    from daq.settings import operator

    _mark("comment", {"text": text, "who": operator.current().who}, "has the comment", json_)


def label(
    label: Annotated[str, typer.Argument(help="A, B, C or ignore.")], json_: AsJson = False
) -> None:
    """Say what the data are from now on; it holds until the next label."""
    _mark("label", {"label": label}, f"is labeled {label} from now on", json_)


def _mark(verb: str, given: dict[str, str], done: str, json_: bool) -> None:
    from daq.services import system

    run = system.mark_run(system.settings_of_what_is_up(), verb, given)["run"]
    sys.stdout.write(json.dumps({"run": run}) + "\n" if json_ else f"{run} {done}\n")
