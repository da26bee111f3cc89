"""[kinds.K.guard] and [relock]: what is taken, what is refused and where, in samples and counts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from daq.errors import SettingsError, UsageError
from daq.services.demo import default_config
from daq.services.guarding import guarding_of
from daq.settings.loader import load, parse
from daq.settings.sections import Channels, Events, Guard, Kinds, Relock, Stability
from daq.wire.schemas import RawReply

REPLY = RawReply(id=1, channel="C11", rate_hz=250e3, volts_per_count=20 / 65536)


def refused(section, given):
    with pytest.raises(ValidationError) as found:
        section.model_validate(given)
    return str(found.value)


def test_seconds_become_samples_and_volts_counts():
    guard = Guard.model_validate({"phi0_v": 1.2, "noise_counts": [3.0, 60.0]})
    guarding = guarding_of(guard, REPLY, 5)
    assert guarding.phi0 == pytest.approx(3932.16)
    assert (guarding.span, guarding.hold, guarding.settle) == (8, 12_500, 500)
    assert guarding.lead == 65  # half the length of the decimation's filter
    assert guarding.frozen == 5000
    assert guarding.window == 8 * 8192  # the whole number of pieces of blocks nearest to 0.25 s
    assert (guarding.noise_low, guarding.noise_high) == (3.0, 60.0)
    assert (guarding.rail_low, guarding.rail_high) == (-32768, 32767)


def test_without_bands_there_are_no_windows_and_without_a_quantum_no_jumps():
    guarding = guarding_of(Guard.model_validate({}), REPLY, 1)
    assert (guarding.phi0, guarding.window, guarding.lead) == (0.0, 0, 0)


def test_what_is_refused_says_what_was_expected():
    assert "expected noise_counts as [low, high], found [60, 3]" in refused(
        Guard, {"noise_counts": [60.0, 3.0]}
    )
    assert "expected hold_s of 4 step_s 0.01 or more, found 0.02" in refused(
        Guard, {"step_s": 0.01, "hold_s": 0.02}
    )
    assert "less than or equal to 0.4" in refused(Guard, {"tolerance_phi0": 0.5})
    assert "greater than 0" in refused(Relock, {"first_wait_s": 0.0})
    entry = {"kind": "k", "digitizer": "d", "input": 0, "squid": "squids1"}
    assert "squid" in refused(Channels, {"C11": entry})
    window = {"kind": "heater", "sources": ["P"], "tagged": ["k"], "before_s": 0.0, "after_s": 0.1}
    told = refused(Events, {"vetoes": {"p": window | {"timing_s_counts": 1.0}}})
    assert "expected timing_s_counts for a gate alone, found 1" in told


def test_a_quantum_that_is_lost_in_the_noise_is_refused():
    with pytest.raises(UsageError, match=r"at least 50 counts.*0.0152588 V, found 0.001 V"):
        guarding_of(Guard.model_validate({"phi0_v": 0.001}), REPLY, 1)


def test_what_run_control_commands_must_be_an_instrument_of_the_config(tmp_path):
    text = default_config().read_text()
    settings = load(default_config())  # which has neither table, and the defaults of both
    assert settings.section(Relock).tries == 6
    assert settings.section(Stability).generator == ""
    assert settings.section(Kinds).root["target"].guard is not None
    wrong = text.replace("squids1.squid 1", "squids9.squid 1")
    wrong += '[stability]\ngenerator = "pulsar.output 1"\n'
    with pytest.raises(SettingsError) as found:
        parse(wrong, tmp_path / "t.toml")
    told = str(found.value)
    assert "channels.C11.squid: expected an instrument of fridge, squids1" in told
    assert "stability.generator: expected an instrument of" in told
    assert "found 'pulsar.output 1'" in told
