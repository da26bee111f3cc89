"""The core as a service, on real sockets, with a digitizer of the test's own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daq.errors import NotConnectedError, RefusedError, StorageError, UsageError
from daq.model.operator import Operator
from daq.run.lease import Held, seal
from daq.services import system
from daq.services.core import Core
from daq.services.relock import Relocker
from daq.services.service import Beat, Waker
from daq.settings.loader import Settings, parse
from daq.store import names, numbers
from daq.store.log import recover
from daq.wire import codec, shared, sockets
from daq.wire.schemas import BlockHeader, Pulses, RawRequest, SharedItem, State, StreamHello, Traces
from tests.system.digitizer_double import T0_NS, DigitizerDouble

CONFIG = """
[experiment]
name = "t"
data_dir = "{data}"
[storage]
sync_s = 0.02
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
silent_after_s = 0.5
[kinds.k]
record_length = 256
pretrigger = 64
triggers = [{{ kind = "level", threshold = 100, rearm = 15, holdoff = 100 }}]
[channels]
A = {{ kind = "k", digitizer = "d", input = 0 }}
B = {{ kind = "k", digitizer = "d", input = 1 }}
"""
N = 40_000
AT = [2000, 9000, 21_000, 38_000]


def pulses() -> np.ndarray:
    x = np.rint(np.random.default_rng(1).normal(0, 10, (2, N))).astype(np.int16)
    k = np.arange(600)
    for at in AT:
        x[:, at : at + 600] += (500 * np.exp(-k / 100)).astype(np.int16)
    return x


def until(done: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a state that only another thread can bring about."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"waited for {what}"
        threading.Event().wait(0.01)


@pytest.fixture
def settings(runtime: Path, tmp_path: Path) -> Settings:
    return parse(CONFIG.format(data=tmp_path / "runs"), Path("t.toml"))


@contextmanager
def core_of(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Iterator[Core]:
    stop, waker = threading.Event(), Waker()
    core = Core(settings, stop, waker, clock=clock)
    thread = threading.Thread(target=core.run)
    thread.start()
    try:
        yield core
    finally:
        stop.set()
        waker.wake()
        thread.join()
        waker.close()


@contextmanager
def digitizer_of(
    settings: Settings, samples: np.ndarray, **more: object
) -> Iterator[DigitizerDouble]:
    double = DigitizerDouble(settings.endpoint("core.blocks"), samples, **more)  # type: ignore[arg-type]
    double.start()
    try:
        yield double
    finally:
        double.done.set()
        double.join()


def status(settings: Settings) -> dict:
    return system.ask(settings, "core", "status")


def ready(settings: Settings) -> bool:
    return status(settings)["digitizers"]["d"]["state"] in ("waiting", "streaming")


def start(settings: Settings, **more: object) -> Path:
    until(lambda: ready(settings), "the digitizer")
    folder = numbers.new_run(settings.data_dir)
    run = numbers.run_number(folder)
    system.ask(settings, "core", "start", run=run, folder=str(folder), **more)
    return folder


def test_a_stream_becomes_a_run_and_everything_is_acknowledged(settings):
    with core_of(settings), digitizer_of(settings, pulses()) as digitizer:
        folder = start(settings)
        until(lambda: status(settings)["run"] is None, "the end of the run")
        last = status(settings)["last"]
        assert last["records"] == {"A": len(AT), "B": len(AT)}
        assert last["reason"] == "the stream ended"
        until(lambda: digitizer.durable == N, "the last acknowledgment")
    recovery = recover(folder)
    assert recovery.ended
    assert recovery.problems == []


class Elsewhere(DigitizerDouble):
    """Shares memory that its core cannot come to, as from another container."""

    n_shared = 0

    def _send(self, header: BlockHeader, samples: memoryview) -> bool:
        if self._memory is None:
            return super()._send(header, samples)
        self.n_shared += 1
        place = SharedItem(os.getpid(), 1 << 40, "ab" * 16, 64)
        header = msgspec.structs.replace(header, shared=place)
        self._socket.send(codec.encode(header))
        return True


def test_where_memory_cannot_be_shared_samples_come_by_the_socket(settings):
    endpoint = settings.endpoint("core.blocks")
    digitizer = Elsewhere(endpoint, pulses(), hold_at=35_000)
    with core_of(settings):
        digitizer.start()
        try:
            folder = start(settings)
            until(lambda: status(settings)["elapsed_s"] == 3.5, "all samples so far")
            assert digitizer.n_shared
            table = status(settings)["digitizers"]["d"]
            assert not table["shared"]
            assert table["refused"]
            assert "expected memory that process" in status(settings)["problem"]
            digitizer.go_on.set()
            until(lambda: status(settings)["run"] is None, "the end of the run")
            assert status(settings)["last"]["records"] == {"A": len(AT), "B": len(AT)}
        finally:
            digitizer.done.set()
            digitizer.join()
    assert recover(folder).problems == []


def test_samples_of_this_machine_come_through_memory(settings):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=30_000):
        start(settings)
        until(lambda: status(settings)["elapsed_s"] == 3.0, "samples")
        assert status(settings)["digitizers"]["d"]["shared"]


def test_memory_for_a_few_blocks_only_stops_no_stream(settings, monkeypatch):
    monkeypatch.setattr(shared, "SIZE", 3 * 2000)  # bytes; a block has 2000
    with core_of(settings), digitizer_of(settings, pulses()[:, :10_000]) as digitizer:
        start(settings)
        until(lambda: status(settings)["run"] is None, "the end of the run")
        assert status(settings)["lost_samples"] == 0
        until(lambda: digitizer.durable == 10_000, "the last acknowledgment")


def test_blocks_gather_until_a_commit_while_nobody_is_kept_waiting(settings):
    endpoint = settings.endpoint
    with core_of(settings) as core:
        assert not core._may_gather()  # a digitizer may say hello
        with digitizer_of(settings, pulses(), can_wait=False, hold_at=2000):
            until(core._may_gather, "a stream")
            with closing(sockets.subscribe(endpoint("core.traces"), topics=(b"d",))):
                until(lambda: not core._may_gather(), "somebody to look")
            until(core._may_gather, "nobody to look")
            with closing(sockets.subscribe(endpoint("core.pulses"), topics=(b"A",))):
                until(lambda: core._eyes.pulses.is_watched, "a page that shows records")
                assert core._may_gather()
            with closing(sockets.join_requests(endpoint("core.raw"))) as asking:
                asking.send(codec.encode(RawRequest(id=1, channel="A", n_samples=10**6)))
                until(lambda: not core._may_gather(), "somebody to wait for samples")


def test_what_comes_faster_than_it_can_be_kept_does_not_gather(settings, monkeypatch):
    monkeypatch.setattr("daq.services.core.FLOOD", 10_000)  # bytes
    with core_of(settings) as core, digitizer_of(settings, pulses(), can_wait=False) as digitizer:
        until(lambda: core._flood, "the flood")
        until(lambda: digitizer.durable == N, "its end")
        until(lambda: not core._flood, "quiet")


def test_a_second_run_is_refused_while_one_is_recorded(settings):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=10_000):
        folder = start(settings)
        with pytest.raises(RefusedError, match="run 1 is being recorded"):
            system.ask(settings, "core", "start", run=2, folder=str(folder))


def test_no_digitizer_no_run(settings, tmp_path):
    with core_of(settings), pytest.raises(NotConnectedError, match="found nothing from d"):
        system.ask(settings, "core", "start", run=1, folder=str(settings.data_dir / "run_000001"))


def test_a_start_that_has_passed_is_refused(settings):
    with core_of(settings), digitizer_of(settings, pulses(), can_wait=False, hold_at=5000):
        until(lambda: status(settings)["digitizers"]["d"]["next"] >= 5000, "samples")
        with pytest.raises(UsageError, match="expected a start at 5000 of d or later, found 17"):
            start(settings, samples={"d": 17})


def test_a_run_of_given_length_has_exactly_that_many_samples(settings):
    with core_of(settings), digitizer_of(settings, pulses()):
        folder = start(settings, duration_s=1.5)
        until(lambda: status(settings)["run"] is None, "the end of the run")
        assert status(settings)["last"]["records"] == {"A": 2, "B": 2}
        assert recover(folder).ended


def test_a_gap_is_counted(settings):
    with core_of(settings), digitizer_of(settings, pulses(), gap=(12_000, 15_000), hold_at=30_000):
        start(settings)
        until(lambda: status(settings)["gaps"] == 1, "the gap")
        assert status(settings)["lost_samples"] == 3000


def test_a_digitizer_that_falls_silent_is_named_and_the_run_can_end(settings):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=20_000):
        folder = start(settings)
        until(lambda: "d has sent nothing" in status(settings)["problem"], "the complaint")
        assert status(settings)["digitizers"]["d"]["state"] == "silent"
        system.ask(settings, "core", "stop")
        until(lambda: status(settings)["run"] is None, "the end of the run")
        assert recover(folder).ended


def test_readings_are_kept_once_and_answered_when_durable(settings):
    row = [T0_NS, "fridge", "input 6.temperature", 0.0102, "K", "read", ""]
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=20_000):
        early = system.ask(settings, "core", "readings", boot="b", first=0, rows=[row])
        assert early == {"taken": 1}
        start(settings)
        told = [[T0_NS + i, *row[1:]] for i in range(3)]
        assert system.ask(settings, "core", "readings", boot="b", first=0, rows=told) == {
            "taken": 3
        }
        assert system.ask(settings, "core", "readings", boot="b", first=1, rows=told[1:]) == {
            "taken": 3
        }


def test_the_raw_channel_delivers_exactly_what_was_asked(settings):
    x = pulses()
    with core_of(settings), digitizer_of(settings, x, can_wait=False, hold_at=2000) as digitizer:
        until(lambda: status(settings)["digitizers"]["d"]["next"] >= 2000, "samples")
        answers: list[tuple] = []
        endpoint = settings.endpoint("core.raw")
        asking = threading.Thread(
            target=lambda: answers.append(sockets.raw_samples(endpoint, "B", 1234, 20.0))
        )
        asking.start()
        while asking.is_alive():  # the request has arrived when a block after it is answered
            digitizer.hold_at = (digitizer.hold_at or 0) + 500
            asking.join(0.05)
        reply, samples = answers[0]
        assert reply.rate_hz == 10e3
        got = np.frombuffer(samples, "<i2")
        assert got.tolist() == x[1, reply.start : reply.start + 1234].tolist()
        with pytest.raises(UsageError, match="expected one of the channels A, B, found 'Z'"):
            sockets.raw_samples(endpoint, "Z", 10, 5.0)


def test_eyes_see_traces_and_pulses_and_a_late_joiner_the_state(settings):
    endpoint = settings.endpoint
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=1000) as digitizer:
        eyes = sockets.subscribe(endpoint("core.traces"), endpoint("core.pulses"))
        states = sockets.subscribe(endpoint("core.state"))
        assert states.poll(5000)
        state = codec.decode(sockets.receive(states)[1], State)
        assert state.service == "core"
        start(settings)
        until(lambda: status(settings)["digitizers"]["d"]["next"] >= 1000, "samples")
        digitizer.go_on.set()
        seen: set[type] = set()
        while {Traces, Pulses} - seen:
            assert eyes.poll(3_000), (seen, status(settings))
            _, header, *arrays = sockets.receive(eyes)
            message = codec.decode(header, Traces, Pulses)
            seen.add(type(message))
            if isinstance(message, Pulses):
                n = message.n_records * message.record_length
                assert np.frombuffer(arrays[1], "<i2").size == n
            else:
                assert np.frombuffer(arrays[0], "<f4").size % 4 == 0
        for socket in (eyes, states):
            socket.close(0)


def test_a_stranger_and_another_version_are_refused_by_name_and_harmless(settings):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=10_000):
        start(settings)
        stranger = sockets.join_blocks(settings.endpoint("core.blocks"))
        hello = StreamHello(
            digitizer="x", epoch="e", channels=["a"], rate_hz=1.0, volts_per_count=1.0,
            oldest=0, newest=0,
        )  # fmt: skip
        stranger.send(codec.encode(hello).replace(b'"version":1', b'"version":9'))
        until(lambda: "version 9" in status(settings)["problem"], "the refusal")
        stranger.send_multipart([b"\xff", b"\x00" * 10, b"", b"more"])
        stranger.send(codec.encode(hello))
        until(lambda: "no digitizer of this config" in status(settings)["problem"], "the refusal")
        stranger.close(0)
        until(lambda: status(settings)["digitizers"]["d"]["next"] == 10_000, "the other's blocks")


def test_a_core_that_is_told_to_end_ends_its_run(settings):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=10_000):
        folder = start(settings)
        until(lambda: status(settings)["digitizers"]["d"]["next"] == 10_000, "samples")
    assert recover(folder).ended


def test_a_folder_that_cannot_be_written_is_refused_with_its_name(settings, tmp_path):
    with core_of(settings), digitizer_of(settings, pulses()):
        until(lambda: ready(settings), "the digitizer")
        folder = settings.data_dir / "run_000001"
        settings.data_dir.parent.mkdir(parents=True, exist_ok=True)
        settings.data_dir.write_text("")
        with pytest.raises(StorageError, match="run_000001"):
            system.ask(settings, "core", "start", run=1, folder=str(folder))
        assert status(settings)["run"] is None


@pytest.mark.parametrize("asked", ["../run_000001", "/etc/run_000001", "{data}/run_000002", ""])
def test_a_run_anywhere_but_in_its_own_folder_is_refused(settings, asked):
    folder = asked.format(data=settings.data_dir)
    with core_of(settings), digitizer_of(settings, pulses()):
        until(lambda: ready(settings), "the digitizer")
        with pytest.raises(UsageError, match=r"expected the folder .*run_000001 of run 1, found"):
            system.ask(settings, "core", "start", run=1, folder=folder)
        assert status(settings)["run"] is None


def test_a_digitizer_that_numbers_anew_ends_the_run_by_name(settings):
    with core_of(settings):
        with digitizer_of(settings, pulses(), hold_at=10_000):
            start(settings)
            until(lambda: status(settings)["digitizers"]["d"]["next"] == 10_000, "samples")
        with digitizer_of(settings, pulses(), epoch="f"):
            until(lambda: status(settings)["run"] is None, "the end of the run")
            assert "began to number its samples anew" in status(settings)["last"]["reason"]


def test_a_core_that_stood_still_itself_does_not_blame_the_digitizer(settings):
    ahead_s = [0.0]
    clock = lambda: time.monotonic() + ahead_s[0]  # noqa: E731
    with core_of(settings, clock), digitizer_of(settings, pulses(), hold_at=10_000) as digitizer:
        start(settings)
        until(lambda: status(settings)["digitizers"]["d"]["next"] == 10_000, "samples")
        ahead_s[0] = 10.0  # twenty times what makes a digitizer silent
        digitizer.go_on.set()
        until(lambda: status(settings)["run"] is None, "the end of the run")
        assert status(settings)["problem"] == ""


def test_who_does_not_hold_the_lease_marks_nothing_and_run_control_always_may(settings):
    own = Operator("run control", "its own")
    relocker = Relocker(settings, threading.Event(), own=own)
    held = Held("anna", 0, 2 * time.time_ns(), seal("hers"))
    lease = {"lease": msgspec.to_builtins(held), "own_seal": seal(own.ticket)}
    run_control = Beat(settings.endpoint("run.state"), "run")
    asked = {"cause": "unlocked", "channels": ["A"]}

    def refused() -> bool:
        run_control.publish("running", progress=0, body=lease)
        run_control.serve()
        return "anna" in refusal("mark_dead")

    def refusal(verb: str) -> str:
        try:
            system.ask(settings, "core", verb, **asked)
        except RefusedError as error:
            return str(error)
        return ""

    with core_of(settings), digitizer_of(settings, pulses(), hold_at=12_000) as digitizer:
        start(settings)
        until(lambda: status(settings)["elapsed_s"] >= 12_000 / digitizer.rate_hz, "samples")
        until(refused, "the core to know of the lease")
        assert refused()  # and its news are fresh
        assert "anna holds the control lease" in refusal("mark_alive")
        assert relocker._ask("core", "mark_dead", **asked) == {"since": {"A": 12_000}}
        assert relocker._ask("core", "mark_alive", **asked) == {"until": {"A": 12_000}}
        with sockets.calling(
            settings.endpoint("core.commands"), "core", Operator("anna", "hers")
        ) as anna:
            assert anna.call("mark_dead", 10.0, **asked) == {"since": {"A": 12_000}}
    run_control.close()


def test_what_is_asked_for_in_a_run_enters_with_its_sample_and_is_in_the_records(settings):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=12_000) as digitizer:
        start(settings)
        until(lambda: status(settings)["elapsed_s"] >= 12_000 / digitizer.rate_hz, "samples")
        asked = system.ask(settings, "core", "record", channels=["A"])
        assert asked == {"samples": {"A": 12_000}}
        dead = {"cause": "unlocked", "channels": ["B"]}
        assert system.ask(settings, "core", "mark_dead", **dead) == {"since": {"B": 12_000}}
        trigger = {"kind": "level", "threshold": 2000.0, "rearm": 15.0}
        changed = system.ask(settings, "core", "set_triggers", channel="B", triggers=[trigger])
        assert changed == {"from": {"at": 12_000, "epoch": 1}}
        assert status(settings)["epoch"] == 1
        digitizer.go_on.set()
        until(lambda: status(settings)["run"] is None, "the end of the run")
        # A: four pulses and what was asked for; B: the two pulses before the threshold rose
        assert status(settings)["last"]["records"] == {"A": len(AT) + 1, "B": 2}


def reached(settings: Settings, sample: int) -> None:
    until(lambda: status(settings)["digitizers"]["d"]["next"] >= sample, "samples")


def test_a_pause_has_no_records_and_is_told_to_the_sample(settings):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=15_000) as digitizer:
        start(settings, label="B")
        reached(settings, 15_000)
        assert status(settings)["label"] == "B"
        with pytest.raises(RefusedError, match="run 1 is not paused; expected a paused run"):
            system.ask(settings, "core", "resume")
        assert system.ask(settings, "core", "pause")["since"] == {"A": 15_000, "B": 15_000}
        with pytest.raises(RefusedError, match="run 1 is paused already"):
            system.ask(settings, "core", "pause")
        assert status(settings)["state"] == "paused"
        digitizer.hold_at = 30_000
        reached(settings, 30_000)
        assert system.ask(settings, "core", "resume")["until"] == {"A": 30_000, "B": 30_000}
        assert status(settings)["state"] == "running"
        digitizer.go_on.set()
        until(lambda: status(settings)["run"] is None, "the end of the run")
        # without the pulse at 21 000
        assert status(settings)["last"]["records"] == {"A": len(AT) - 1, "B": len(AT) - 1}


def test_a_core_that_was_killed_in_a_pause_goes_on_paused_and_labeled(settings):
    with digitizer_of(settings, pulses(), hold_at=15_000):
        with core_of(settings) as core:
            folder = start(settings)
            reached(settings, 15_000)
            system.ask(settings, "core", "label", label="ignore")
            system.ask(settings, "core", "pause")
            system.ask(settings, "core", "comment", text="the pump is loud", who="anna")
            core._end_now = lambda reason: core._recording.drop()  # as if it were killed
        with core_of(settings):
            until(lambda: status(settings)["run"] == 1, "the run")
            told = status(settings)
            assert (told["state"], told["label"]) == ("paused", "ignore")
    assert any(
        b"anna: the pump is loud" in path.read_bytes() for path in names.logs(folder).values()
    )


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        ("record", {"channels": ["X"]}, "expected one of the channels A, B, found 'X'"),
        ("mark_dead", {"cause": "holdoff", "channels": ["A"]}, "Invalid enum value 'holdoff'"),
        ("set_triggers", {"channel": "A", "triggers": [{"kind": "off"}]}, "triggers of A: 0: "),
        ("label", {"label": "D"}, "Invalid enum value 'D'"),
        ("comment", {"text": ""}, "Expected `str` of length >= 1"),
        ("comment", {"text": "x" * 161}, "Expected `str` of length <= 160"),
    ],
)
def test_what_makes_no_sense_in_a_run_is_refused(settings, verb, arguments, words):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=5000):
        start(settings)
        with pytest.raises(UsageError, match=words):
            system.ask(settings, "core", verb, **arguments)


def test_without_a_run_nothing_can_enter(settings):
    with core_of(settings), pytest.raises(RefusedError, match="no run is being recorded"):
        system.ask(settings, "core", "record", channels=["A"])
