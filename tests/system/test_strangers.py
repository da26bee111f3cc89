"""Frames from strangers on every socket of a running system: refused, counted and harmless."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from daq.services import system
from daq.store.verify import verify
from daq.wire import codec, schemas, sockets
from daq.wire.schemas import BlockHeader, RawRequest, Request, SharedItem, StreamEnd, StreamHello
from tests.system.chain import bench, core, services, until

SEED, EACH = 20261126, 150
HELLO = StreamHello(
    digitizer="targets",
    epoch="of a stranger",
    channels=["C11"],
    rate_hz=1e5,
    volts_per_count=1e-4,
    oldest=0,
    newest=10**6,
)
VALID: dict[str, list[schemas.Message]] = {
    "core.blocks": [
        BlockHeader(digitizer="targets", epoch="x", asked=1, start=0, n_channels=1, n_samples=8),
        BlockHeader(
            digitizer="targets",
            epoch="x",
            asked=1,
            start=0,
            n_channels=1,
            n_samples=8,
            shared=SharedItem(1, 3, "ab", 64),
        ),
        StreamEnd(digitizer="targets", epoch="x", stop=10),
        StreamEnd(digitizer="nobody", epoch="x", stop=10),
    ],
    "core.raw": [RawRequest(id=1, channel="C11", n_samples=5)],
    **{
        f"{name}.commands": [Request(id=1, verb="status"), Request(id=2, verb="dance")]
        for name in ("core", "folder", "run", "instruments", "digitizer.targets")
    },
}
ODD = [None, -1, 0, 2**63 - 1, 2**70, 1e308, "", "x" * 5000, [], {}, True, "\x00", "1"]


def mutations(message: schemas.Message, dice: random.Random) -> Iterator[list[bytes]]:
    """Frames like those of a message, and each somehow wrong."""
    whole = codec.encode(message)
    table = msgspec.json.decode(whole)
    for _ in range(EACH):
        bytes_ = bytearray(whole)
        match dice.randrange(7):
            case 0:
                yield [bytes(bytes_[: dice.randrange(len(bytes_))])]
            case 1:
                for _ in range(dice.randint(1, 8)):
                    bytes_[dice.randrange(len(bytes_))] = dice.randrange(256)
                yield [bytes(bytes_)]
            case 2:
                changed = {**table, dice.choice(list(table)): dice.choice(ODD)}
                yield [msgspec.json.encode(changed) if _fits(changed) else b"{" * 10_000]
            case 3:
                yield [msgspec.json.encode({**table, "version": dice.choice([0, 2, 99])})]
            case 4:
                yield [whole, dice.randbytes(dice.randrange(64))]
            case 5:
                yield [dice.randbytes(dice.randrange(2000)) for _ in range(dice.randint(1, 5))]
            case _:
                yield [b"[" * 100_000]


def _fits(table: dict[str, object]) -> bool:
    return not any(isinstance(v, int) and abs(v) > 2**64 for v in table.values())


def throw(endpoint: str, frames: list[list[bytes]]) -> None:
    with closing(sockets.join_requests(endpoint)) as stranger:
        for each in frames:
            deadline = time.monotonic() + 10
            while not sockets.offer(stranger, *each):
                assert time.monotonic() < deadline
                time.sleep(0.001)
            while stranger.poll(0):
                sockets.receive(stranger)


def test_what_strangers_send_is_refused_and_a_run_does_not_notice(runtime, tmp_path):
    dice = random.Random(SEED)
    with bench(tmp_path) as config, services(config) as settings:
        pids = {n: row["pid"] for n, row in system.status()["services"].items()}
        run = Path(system.start_run(settings)["run"])
        for name, messages in VALID.items():
            frames = [frames for m in messages for frames in mutations(m, dice)]
            throw(settings.endpoint(name), frames)
        huge = b"x" * (sockets.MAX_HEADER + 1)
        for name in VALID:
            if name != "core.blocks":
                throw(settings.endpoint(name), [[huge]])
        before = core(settings)["safe"]["records"]
        until(lambda: core(settings)["safe"]["records"] > before + 5, "the run to go on")
        assert core(settings)["lost_samples"] == 0
        assert {n: row["pid"] for n, row in system.status()["services"].items()} == pids
        system.stop_run(settings, "enough")
    assert verify(run).ok


def test_a_digitizer_that_lies_about_itself_does_not_end_the_core(runtime, tmp_path):
    lies = [
        {"rate_hz": 0.0},
        {"rate_hz": -1.0},
        {"rate_hz": 1e-300},
        {"channels": []},
        {"channels": ["C11"] * 70},
        {"oldest": 10, "newest": 5},
        {"volts_per_count": 0.0},
        {"anchors": [(5, 1), (4, 2)]},
    ]
    with bench(tmp_path) as config, services(config) as settings:
        pid = system.status()["services"]["core"]["pid"]
        for lie in lies:
            told = {**msgspec.to_builtins(HELLO), **lie}
            throw(settings.endpoint("core.blocks"), [[msgspec.json.encode(told)]])
        assert core(settings)["state"] == "idle"
        assert system.status()["services"]["core"]["pid"] == pid
