"""The hazard of flat packages: another wheel that ships `daq` or `drivers` would take ours over."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from daq.errors import UsageError

OURS = ("daq", "drivers", "gui", "sim_hardware")
DISTRIBUTION = "scheelite"


def check_packages_are_ours() -> None:
    """UsageError that names the package and whose it is, where one of the four is not ours.

    An editable installation lists no files: then all four must lie in one folder.
    """
    distributions = packages_distributions()
    for name in OURS:
        foreign = sorted(set(distributions.get(name, [])) - {DISTRIBUTION})
        if foreign:
            raise UsageError(
                f"expected the package {name} to be scheelite's, found it in {', '.join(foreign)} "
                "too: give scheelite an environment of its own"
            )
    homes = {name: _home(name) for name in OURS}
    strangers = [name for name, home in homes.items() if home != homes["daq"]]
    if strangers:
        name = strangers[0]
        raise UsageError(
            f"expected the package {name} in {homes['daq']}, found it in {homes[name]}: "
            "give scheelite an environment of its own"
        )


def _home(name: str) -> Path | None:
    """The folder that a package would be imported from, without importing it."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module else find_spec(name)
    return Path(spec.origin).parent.parent if spec and spec.origin else None
