"""The vendors' Python packages, imported only where a digitizer of theirs is in the config."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from daq.errors import NotConnectedError


def load(module: str, driver: str) -> ModuleType:
    """A module of a vendor's package; NotConnectedError says which package or driver to install.

    Some packages raise any kind of error at import where the vendor's driver is missing.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise NotConnectedError(
            f"expected the Python package {package}, found no {error.name}: "
            f"pip install {package}, and install {driver}"
        ) from error
    except Exception as error:
        raise no_driver(package, driver, error) from error


def no_driver(package: str, driver: str, error: Exception) -> NotConnectedError:
    """The package is there, and its vendor's driver is not."""
    return NotConnectedError(f"{package} finds no driver: install {driver} ({sentence(error)})")


def sentence(error: Exception) -> str:
    """What a vendor says over several lines, in one, without a full stop."""
    return " ".join(str(error).split())[:300].rstrip(".")
