"""The pipeline alone, at the default config: triggers, vetoes, records, ledger, checkpoints."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from daq.acquire.pipeline import Pipeline, Start
from daq.model.block import Block
from daq.model.channel import Channel, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.services.setup import channels_of, plan_of
from daq.settings.loader import load
from daq.wire.schemas import StreamHello
from tests.bench.results import memcpy_s, note
from tests.filters import tes_filter

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
BENCH = Path(__file__).parents[2] / "config" / "bench.toml"
RATE, SECONDS = 250_000, 5
INPUTS = {"targets": (9, 1.5), "vetoes": (2, 4.0)}  # channels, pulses per second in each


def stream(rows: int, rate_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Pulses of 0.3 and 3.6 ms on 10 counts of noise."""
    n = SECONDS * RATE
    x, k = rng.normal(0, 10, (rows, n)), np.arange(25_000)
    shape = np.exp(-k / 900) - np.exp(-k / 75)
    for row in x:
        for at in rng.integers(0, n - k.size, rng.poisson(rate_hz * SECONDS)):
            row[at : at + k.size] += rng.exponential(2000) * shape
    return np.clip(np.rint(x), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("n", [1, 4, 16])
def test_channels_that_trigger_by_optimum_filters(n):
    """5 sigma, records of 8192 samples at 250 kS/s, a commit every 50 ms."""
    one = tes_filter(8192, 2048, float(RATE))
    x = stream(n, 1.5, np.random.default_rng(2))
    channels = [
        Channel(name=f"C{i}", digitizer="d", row=i, sample_rate_hz=float(RATE), decimation=1,
                record_length=8192, pretrigger=2048, volts_per_count=3e-4,
                triggers=(TriggerSettings(kind="matched", threshold=5 * one.sigma, holdoff=4096),))
        for i in range(n)
    ]  # fmt: skip
    block, times, records = RATE // 20, [], 0
    for _ in range(5):
        start = Start(digitizer="d", rate_hz=RATE, sample=0, anchors=(Anchor(0, 10**18),))
        pipeline = Pipeline.fresh(channels, Plan(), [start], {c.name: one for c in channels})
        began, records = time.process_time(), 0
        for at in range(0, SECONDS * RATE, block):
            pipeline.feed("d", Block(at, x[:, at : at + block]))
            records += sum(len(r.table) for r in pipeline.take().records)
            pipeline.checkpoint()
        times.append(time.process_time() - began)
    samples = n * SECONDS * RATE
    best, copy = min(times), memcpy_s(2 * samples)
    assert records >= 4 * n
    note(f"pipeline, {n} matched channels", samples / best / 1e6, "MS/s per CPU second",
         copy / best, "memcpy")  # fmt: skip


@pytest.mark.parametrize("block_ms", [20, 50])
def test_eleven_channels_by_the_default_config(block_ms):
    rng, settings = np.random.default_rng(1), load(BENCH)
    x = {name: stream(*of, rng) for name, of in INPUTS.items()}
    channels = [
        channel
        for name, (rows, _) in INPUTS.items()
        for channel in channels_of(
            settings,
            StreamHello(digitizer=name, epoch="e", channels=[str(i) for i in range(rows)],
                        rate_hz=float(RATE), volts_per_count=3e-4, oldest=0, newest=0),
        )
    ]  # fmt: skip
    block, times, records = RATE * block_ms // 1000, [], 0
    for _ in range(7):
        starts = [
            Start(digitizer=name, rate_hz=RATE, sample=0, anchors=(Anchor(0, 10**18),))
            for name in x
        ]
        pipeline = Pipeline.fresh(channels, plan_of(settings), starts)
        began, records = time.process_time(), 0
        for start in range(0, SECONDS * RATE, block):
            told = tuple(
                Anchor(at, 10**18 + at * 10**9 // RATE)
                for at in range(-(-start // RATE) * RATE, start + block, RATE)
            )
            for name, samples in x.items():
                pipeline.feed(name, Block(start, samples[:, start : start + block], told))
            records += sum(len(r.table) for r in pipeline.take().records)
            pipeline.checkpoint()
        times.append(time.process_time() - began)
    samples = len(channels) * SECONDS * RATE
    best, copy = min(times), memcpy_s(2 * samples)
    assert records > 80
    name = f"pipeline, 11 channels, blocks of {block_ms} ms"
    note(name, samples / best / 1e6, "MS/s per CPU second", copy / best, "memcpy")
