"""Filters as bytes, what they refuse, and what training refuses."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from daq.acquire.filters import SCHEMA, Filter
from daq.acquire.training import noise_psd, train
from daq.errors import CheckError, FormatError, UsageError
from tests.filters import adc, template, tes_filter

FULL = tes_filter(falling=True, counts_per_ev=4.5, provenance={"run": "7", "a": "b"})
FULL = replace(FULL, low_pass_hz=300.0)


def test_a_filter_is_the_same_after_its_bytes():
    back = Filter.from_bytes(FULL.to_bytes())
    assert back.to_bytes() == FULL.to_bytes()
    assert back.content_hash == FULL.content_hash
    assert np.array_equal(back.template, FULL.template)
    assert np.array_equal(back.psd, FULL.psd)
    for name in ("pretrigger", "rate_hz", "falling", "counts_per_ev", "provenance", "low_pass_hz"):
        assert getattr(back, name) == getattr(FULL, name)


def test_the_order_of_provenance_does_not_change_the_bytes_but_all_else_does():
    turned = replace(FULL, provenance=dict(reversed(FULL.provenance.items())))
    assert turned.content_hash == FULL.content_hash
    changes = [
        {"pretrigger": 129},
        {"rate_hz": 2501.0},
        {"falling": False},
        {"counts_per_ev": None},
        {"low_pass_hz": None},
        {"provenance": {}},
        {"psd": FULL.psd * 2},
    ]
    hashes = {replace(FULL, **change).content_hash for change in changes}
    assert len(hashes | {FULL.content_hash}) == len(changes) + 1


def test_bytes_without_a_low_pass_are_read():
    fields = msgspec.msgpack.decode(FULL.to_bytes())
    assert Filter.from_bytes(msgspec.msgpack.encode(fields[:-1])).low_pass_hz is None


def changed(index: int, value: object) -> bytes:
    fields = msgspec.msgpack.decode(FULL.to_bytes())
    fields[index] = value
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (b"", "expected the bytes of a filter, found 0 others"),
        (b"nonsense", "expected the bytes of a filter"),
        (FULL.to_bytes()[:-20], "expected the bytes of a filter"),
        (changed(0, "another"), f"expected {SCHEMA} version 1, found another version 1"),
        (changed(1, 2), "found scheelite.filter version 2"),
        (changed(2, b"abc"), "whole numbers of float32"),
        (changed(3, b"abc"), "whole numbers of float32"),
    ],
)
def test_bytes_that_are_no_filter_are_refused(stored, sentence):
    with pytest.raises(FormatError, match=sentence):
        Filter.from_bytes(stored)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"template": np.ones(8)}, "16 samples or more"),
        ({"psd": FULL.psd[:-1]}, "a PSD of 257 frequencies"),
        ({"psd": FULL.psd * 0}, "PSD above 0"),
        ({"template": FULL.template * np.nan}, "finite numbers"),
        ({"template": FULL.template * 2}, "height 1, found 2"),
        ({"pretrigger": 512}, "pretrigger within the template, found 512 of 512"),
        ({"rate_hz": 0.0}, "rate above 0 Hz, found 0"),
        ({"counts_per_ev": -1.0}, "counts_per_ev above 0 in a filter, found -1"),
        ({"low_pass_hz": float("nan")}, "low_pass_hz above 0 in a filter, found nan"),
    ],
)
def test_what_a_filter_cannot_be_made_of_is_refused(change, sentence):
    with pytest.raises(UsageError, match=sentence):
        replace(FULL, **change)


def test_thresholds_are_given_in_one_unit_that_the_filter_knows():
    assert FULL.counts(sigmas=2.0) == 2 * FULL.sigma
    assert FULL.counts(ev=10.0) == 45.0
    for units in ({}, {"sigmas": 1.0, "ev": 1.0}):
        with pytest.raises(UsageError, match="both or neither"):
            FULL.counts(**units)
    with pytest.raises(UsageError, match="counts_per_ev"):
        tes_filter().counts(ev=10.0)


# --- training ---


def quiet(n: int, length: int = 512) -> np.ndarray:
    return adc(np.random.default_rng(1).normal(0, 10, (n, length)))


def with_a_pulse(n: int) -> np.ndarray:
    return adc(np.random.default_rng(2).normal(0, 10, (n, 512)) + 3000 * template(512, 128, 2500.0))


def test_too_few_records_are_refused():
    with pytest.raises(CheckError, match="20 noise records or more"):
        noise_psd(quiet(19), 2500.0)
    with pytest.raises(CheckError, match="20 noise records or more"):
        noise_psd(quiet(30)[0], 2500.0)
    with pytest.raises(CheckError, match="10 pulse records or more"):
        train(quiet(40), with_a_pulse(9), pretrigger=128, rate_hz=2500.0)


def test_too_few_clean_records_are_refused():
    railed = quiet(30)
    railed[:15, 7] = 32767
    with pytest.raises(CheckError, match="20 clean noise records, found"):
        noise_psd(railed, 2500.0)
    pulses = with_a_pulse(15)
    pulses[:8, 200] = -32768
    with pytest.raises(CheckError, match="10 clean pulse records, found"):
        train(quiet(40), pulses, pretrigger=128, rate_hz=2500.0)


def test_noise_and_pulses_of_two_lengths_are_refused():
    with pytest.raises(UsageError, match="one length, found 256 and 512"):
        train(quiet(40, 256), with_a_pulse(20), pretrigger=128, rate_hz=2500.0)


def test_training_gives_a_share_of_the_resolution_away_for_a_low_pass():
    settings = {"pretrigger": 128, "rate_hz": 2500.0}
    sharp, _, _ = train(quiet(100), with_a_pulse(40), **settings)
    low, _, _ = train(quiet(100), with_a_pulse(40), low_pass_cost=0.02, **settings)
    assert sharp.low_pass_hz is None
    assert low.sigma == pytest.approx(1.02 * sharp.sigma, rel=1e-3)
    assert low.time_sigma_s(1.0) > sharp.time_sigma_s(1.0)


def test_a_template_that_is_mostly_its_own_noise_is_refused():
    x = np.random.default_rng(3).normal(0, 10, (12, 512)) + 40 * template(512, 128, 2500.0)
    with pytest.raises(
        CheckError, match=r"less than 20% is its own noise, found .* more or higher"
    ):
        train(quiet(100), adc(x), low_pass_cost=0.01, pretrigger=128, rate_hz=2500.0)


def test_the_noise_of_a_template_does_not_pass_for_pulse():
    """30 pulses of 200 counts in noise of 10: the filter is that of the template without noise."""
    rng = np.random.default_rng(4)
    x = rng.normal(0, 10, (30, 512)) + 200 * template(512, 128, 2500.0)
    one, _, _ = train(quiet(100), adc(x), low_pass_cost=0.01, pretrigger=128, rate_hz=2500.0)
    ideal = tes_filter(512, 128, 2500.0, rms=10.0)
    ideal = replace(ideal, low_pass_hz=ideal.affordable_low_pass_hz(0.01))
    assert one.sigma == pytest.approx(ideal.sigma, rel=0.05)
    assert one.time_sigma_s(200.0) == pytest.approx(ideal.time_sigma_s(200.0), rel=0.3)
