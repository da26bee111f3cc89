"""Recorded files as a digitizer: LJH 2.1 and 2.2, and recordings of our own digitizer stream.

Samples come as fast as they are taken, none is lost while nobody takes them, and a service that is
started again goes on at the sample that is missing. What was not recorded is a gap and never made
up, so records must fit into the stretches of the file; `scheelite replay` puts noise between LJH
records instead. LJH counts from 0 to 65535 and its samples come less 32768: `counts_offset = 32768`
of the channel gives the counts back. Nothing here knows a device; the facts of each format stand in
the module that reads it, with their sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from daq.errors import FormatError, NotConnectedError
from drivers.digitizer.digitizer import Digitizer, Event, Facts
from drivers.digitizer.ljh_recording import MAGIC, LjhRecording
from drivers.digitizer.recording import Recording, opened
from drivers.digitizer.settings import DigitizerSettings, own
from drivers.digitizer.stream_recording import StreamRecording


class FileReplaySettings(DigitizerSettings):
    """One recorded file."""

    resource: str = Field(
        min_length=1, max_length=4096, description="Path of the file, or from the working folder."
    )
    device: str = Field(
        "", max_length=64, description="What the file calls its digitizer; any where not given."
    )
    n_channels: int | None = Field(
        None, ge=1, le=1024, description="Refuse a file with another number of channels."
    )
    volts_per_count: float = Field(
        1 / 65536,
        gt=0,
        le=1e3,
        description="Volts per count, which LJH does not say [V].",
    )


class FileReplay(Digitizer):
    """One file; nothing is read from it but what is asked for."""

    settings = FileReplaySettings

    @classmethod
    def from_settings(cls, name: str, settings: DigitizerSettings) -> FileReplay:
        """The file, which is looked at: a mistake that no repetition mends is said at once."""
        replay = cls(name, settings.resource, own(settings, FileReplaySettings))
        replay.recording()
        return replay

    def __init__(self, name: str, resource: str, settings: FileReplaySettings) -> None:
        self._name, self._path, self._own = name, Path(resource), settings
        self._recording: Recording | None = None
        self._events: Iterator[Event] = iter(())

    def recording(self) -> Recording:
        """What is in the file; FormatError where that is of no use."""
        with opened(self._path) as file:
            beginning = file.read(len(MAGIC))
        if beginning.startswith(b"{"):
            recording: Recording = StreamRecording(self._path)
        elif beginning == MAGIC:
            recording = LjhRecording(self._path)
        else:
            raise FormatError(
                f"{self._path}: expected an LJH file or a recorded digitizer stream, "
                f"found {beginning!r}"
            )
        self._check(recording)
        return recording

    def connect(self) -> Facts:
        self.close()
        try:
            self._recording = self.recording()
        except FormatError as error:  # it was all right when we began
            raise NotConnectedError(str(error)) from error
        contents = self._recording.contents
        return Facts(
            name=self._name,
            channels=contents.channels,
            rate_hz=contents.rate_hz,
            volts_per_count=contents.volts_per_count or self._own.volts_per_count,
            stream=contents.stream,
            can_wait=True,
            oldest=contents.oldest,
            next=contents.stop,
            anchor=contents.anchor,
        )

    def start(self, sample: int) -> None:
        if self._recording is None:
            raise NotConnectedError(f"{self._path} is closed")
        self._events = self._recording.events(sample)

    def read(self, timeout_s: float) -> Event:
        """The next event, at once."""
        del timeout_s
        event = next(self._events, None)
        if event is None:
            raise NotConnectedError(f"{self._path} is closed")
        return event

    def close(self) -> None:
        self._recording, self._events = None, iter(())

    def _check(self, recording: Recording) -> None:
        contents, expected = recording.contents, self._own
        if expected.device not in ("", contents.name):
            raise FormatError(
                f"expected a recording of {expected.device!r} in {self._path}, "
                f"found one of {contents.name!r}"
            )
        if expected.n_channels not in (None, len(contents.channels)):
            raise FormatError(
                f"expected {expected.n_channels} channels in {self._path}, "
                f"found {len(contents.channels)}"
            )
