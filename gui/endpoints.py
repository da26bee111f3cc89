"""Where the services are, as a console needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """`states` and `commands` are by service; `config` is what the doctor is asked about."""

    traces: str
    pulses: str
    raw: str
    progress: str
    states: Mapping[str, str]
    commands: Mapping[str, str]
    config: Path = field(default_factory=Path)
