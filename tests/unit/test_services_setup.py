"""What the acquisition makes of a config and of a digitizer's hello."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.errors import UsageError
from daq.services.setup import channels_of, silent_after_s
from daq.settings.loader import parse
from daq.wire.schemas import StreamHello

CONFIG = """
[experiment]
name = "e"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
silent_after_s = 7.0
[kinds.k]
record_length = 64
pretrigger = 16
triggers = []
[channels]
A = { kind = "k", digitizer = "d", input = 1 }
"""


def hello(n_channels: int) -> StreamHello:
    return StreamHello(
        digitizer="d",
        epoch="e",
        channels=[f"C{i}" for i in range(n_channels)],
        rate_hz=1e3,
        volts_per_count=1.0,
        oldest=0,
        newest=0,
    )


def test_a_channel_is_read_by_its_input():
    (channel,) = channels_of(parse(CONFIG, Path("e.toml")), hello(2))
    assert (channel.name, channel.row, channel.sample_rate_hz) == ("A", 1, 1e3)


def test_an_input_that_the_digitizer_does_not_have_is_refused_with_its_place():
    with pytest.raises(UsageError, match=r"channels\.A\.input: expected below 1, .* found 1"):
        channels_of(parse(CONFIG, Path("e.toml")), hello(1))


def test_each_digitizer_says_itself_when_it_is_silent():
    assert silent_after_s(parse(CONFIG, Path("e.toml")), "d") == 7.0
