"""The command line of the simulated bench."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from sim_hardware.bench import OpenBench
from sim_hardware.replay_command import replay
from sim_hardware.settings import BenchError, read_bench
from sim_hardware.world.physical import UnphysicalError

UNUSABLE = 2  # exit code

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.command()(replay)


@app.callback()
def main() -> None:
    """Instruments and digitizers that are not there, on real sockets."""


@app.command()
def bench(
    file: Annotated[Path, typer.Argument(help="The [bench] table of a configuration, as JSON.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Serve a simulated bench until SIGTERM or SIGINT.

    Once every socket listens, prints a line per instrument with its name, model and resource.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(file, as_json)
    except KeyboardInterrupt:
        raise typer.Exit from None
    except (BenchError, UnphysicalError) as error:
        typer.echo(error, err=True)
        raise typer.Exit(UNUSABLE) from None


def _serve(file: Path, as_json: bool) -> None:
    opened = OpenBench(read_bench(file))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: opened.stop())
    for each in opened.announced:
        said = {"name": each.name, "model": each.face.model, "resource": each.resource}
        typer.echo(json.dumps(said) if as_json else "{name}: {model} at {resource}".format(**said))
    opened.run()


if __name__ == "__main__":
    app()
