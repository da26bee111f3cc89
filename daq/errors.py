"""The one tree of errors; a class's name is its name on the wire, its exit code that of the CLI."""

from __future__ import annotations

from typing import ClassVar


class ScheeliteError(Exception):
    """Anything this project refuses or fails at, said in one sentence."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class CheckError(ScheeliteError):
    """A check found the data or the system not as it must be."""


class UsageError(ScheeliteError):
    """The caller asked for something that makes no sense here."""

    exit_code = 2


class RefusedError(UsageError):
    """A move that the present state does not allow."""


class SettingsError(UsageError):
    """A configuration with mistakes: all of them, each with its place."""

    def __init__(self, path: str, problems: list[str]) -> None:
        self.path, self.problems = path, problems
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n".join([f"{path}: {count}", *(f"  {p}" for p in problems)]))


class FormatError(UsageError):
    """A file that is missing, truncated or not of the kind that was asked for."""


class OutOfRangeError(UsageError):
    """A value outside what the parameter allows."""


class InstrumentError(ScheeliteError):
    """An instrument or digitizer did not do what it should."""

    exit_code = 3


class NotConnectedError(InstrumentError):
    """The instrument cannot be reached at present."""

    retryable = True


class NoNewsError(NotConnectedError):
    """A service has not been heard for a while: gone, or busy as at its first samples ever."""


class ReplyError(InstrumentError):
    """The instrument answered something that the manual does not allow."""

    retryable = True


class NoReplyError(InstrumentError):
    """The instrument did not answer in time."""

    retryable = True


class WrongInstrumentError(InstrumentError):
    """Another instrument answers at this address."""


class SilentError(InstrumentError):
    """A digitizer is connected and sends nothing."""


class WireError(ScheeliteError):
    """A message between services that cannot be understood."""


class VersionError(WireError):
    """A peer that speaks another version of a schema."""


class NotSharedError(WireError):
    """Memory that another process shares, and this one cannot come to."""


class ServiceTimeoutError(ScheeliteError):
    """A service did not answer in time."""

    retryable = True


class StorageError(ScheeliteError):
    """The disk, a folder or a file cannot take or give the data."""

    exit_code = 4


class DiskFullError(StorageError):
    """There is no room left; when there is, the same thing will work."""

    retryable = True


def by_name(name: str) -> type[ScheeliteError]:
    """The class that an error's wire name stands for; ScheeliteError for a name we do not know."""
    stack: list[type[ScheeliteError]] = [ScheeliteError]
    while stack:
        kind = stack.pop()
        if kind.__name__ == name:
            return kind
        stack.extend(kind.__subclasses__())
    return ScheeliteError
