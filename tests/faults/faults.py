"""The faults, as data: what is done, what of the system may notice, and what must not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil

from daq.errors import RefusedError, ScheeliteError
from daq.model.operator import Operator
from daq.services import system
from daq.wire import sockets
from tests.faults.night import Night, died
from tests.qt import qt_missing
from tests.system.chain import until

SERVICES = ("folder", "core", "instruments", "digitizer.targets", "digitizer.vetoes", "run")
STEP_S = 3600.0
GROWTH = 64 << 20  # bytes that a viewer who does not read may cost the core
SOCKETS_BYTES = 16 << 20  # more than the sockets between a digitizer and its service hold
LATE_S = 0.4
ALONE = "said of that one alone; comes back by itself"
Inject = Callable[[Night, float], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is done; `inject` takes how long it stands [s] and returns at its end."""

    name: str
    how: str
    inject: Inject
    expect: str
    restarts: tuple[str, ...] = ()  # services that must come back as other processes
    loses: tuple[str, ...] = ()  # digitizers that may have a counted gap
    must_lose: bool = False
    ends_run: bool = False
    skip: Callable[[Night], str] = lambda _: ""


# --- services ---


def signaled(name: str, number: signal.Signals) -> Inject:
    """A signal that ends a service; done when it is gone."""

    def inject(night: Night, _hold_s: float) -> None:
        pid = night.pid(name)
        os.kill(pid, number)
        until(lambda: died(pid), f"the end of {name}")

    return inject


def stopped(name: str, at_least_s: float = 0.0) -> Inject:
    """A service that stands still."""

    def inject(night: Night, hold_s: float) -> None:
        pid = night.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(max(hold_s, at_least_s))
        finally:
            os.kill(pid, signal.SIGCONT)

    return inject


def overflowed(night: Night, hold_s: float) -> None:
    """A digitizer that nobody reads for longer than it and the sockets remember."""
    digitizer = night.spec["digitizers"]["targets"]
    bytes_hz = 2 * len(digitizer["channels"]) * digitizer["sample_rate_hz"]
    away_s = digitizer["memory_s"] + SOCKETS_BYTES / bytes_hz
    stopped("digitizer.targets", away_s)(night, hold_s)


def gap_of(name: str) -> tuple[str, ...]:
    """The digitizers that lose samples when a service is away."""
    return (name.removeprefix("digitizer."),) if name.startswith("digitizer.") else ()


def kill(name: str) -> Fault:
    gap = "; a gap at most, counted" if gap_of(name) else "; no sample is lost"
    return Fault(
        name=f"kill -9 {name}",
        how="SIGKILL",
        inject=signaled(name, signal.SIGKILL),
        expect=f"respawned within 2 s, works within 5 s{gap}",
        restarts=(name,),
        loses=gap_of(name),
    )


def terminate(name: str) -> Fault:
    ends = name == "core"
    what = "ends the run in good order" if ends else "the run goes on"
    return Fault(
        name=f"SIGTERM {name}",
        how="SIGTERM to the service alone",
        inject=signaled(name, signal.SIGTERM),
        expect=f"{what}; respawned",
        restarts=(name,),
        loses=gap_of(name),
        ends_run=ends,
    )


def stop(name: str) -> Fault:
    return Fault(
        name=f"SIGSTOP {name}",
        how="SIGSTOP, then SIGCONT",
        inject=stopped(name),
        expect="goes on as the same process" + ("; a counted gap" if gap_of(name) else ""),
        loses=gap_of(name),
    )


# --- wires ---


def wire(kind: str, seconds: float | None = None, on: str = "fridge") -> Inject:
    """A fault on an instrument's wire; it says so while a SQUID electronics is not disturbed."""

    def inject(night: Night, hold_s: float) -> None:
        night.control.order(on, kind, seconds=seconds)
        try:
            if seconds is None:
                until(lambda: night.instrument(on) != "ok", f"the trouble of {on}")
            time.sleep(hold_s)
            assert night.instrument("squids1") == "ok"
        finally:
            night.control.clear(on)

    return inject


def instrument(
    name: str, kind: str, expect: str, seconds: float | None = None, on: str = "fridge"
) -> Fault:
    return Fault(
        name=f"instrument {name}",
        how=f"bench: {kind}" + (f" {seconds:g} s" if seconds else ""),
        inject=wire(kind, seconds, on),
        expect=expect,
    )


def corrupted(night: Night, _hold_s: float) -> None:
    """Packets of both digitizers come with wrong bytes; each is noticed and had again."""
    for name in ("targets", "vetoes"):
        night.control.order(name, "garbled", count=1)
    time.sleep(1.0)


# --- the machine ---


def disk_full(night: Night, hold_s: float) -> None:
    """To the last byte; the run pauses by name, and what was safe can be read meanwhile."""
    night.disk.fill()
    try:
        until(lambda: system.status()["state"] == "paused-by-disk", "the pause")
        assert "pauses" in night.core()["problem"]
        time.sleep(hold_s)
    finally:
        night.disk.empty()


def clock_step(night: Night, _hold_s: float) -> None:
    """An hour ahead and back again; both steps are noticed and told to the run."""
    assert night.clock is not None

    def steps() -> int:
        return int(system.ask(night.settings, "run", "status")["clock"]["steps"])

    for ahead_s in (STEP_S, 0.0):
        before = steps()
        night.clock.set_ahead(ahead_s)
        until(lambda before=before: steps() > before, "the step to be noticed")


# --- people ---


def window_killed(night: Night, hold_s: float) -> None:
    """A window comes, looks and is killed."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, "-m", "gui", str(night.settings.path)]
    window = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        time.sleep(max(hold_s, 2.0))
        assert window.poll() is None
    finally:
        window.kill()
        window.wait()


def slow_viewer(night: Night, hold_s: float) -> None:
    """Somebody subscribes to all there is to see, and stands still."""
    endpoints = [night.settings.endpoint(f"core.{name}") for name in ("traces", "pulses")]
    command = [sys.executable, "-m", "tests.faults.viewer", *endpoints]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as viewer:
        assert viewer.stdout is not None
        viewer.stdout.readline()
        core = psutil.Process(night.pid("core"))
        before = core.memory_info().rss
        viewer.send_signal(signal.SIGSTOP)
        time.sleep(hold_s)
        grown = core.memory_info().rss - before
        viewer.kill()
    assert grown < GROWTH, f"a viewer who does not read costs the core {grown} bytes"


def two_commanders(night: Night, _hold_s: float) -> None:
    """Both take the lease at once: one has it, the other is told who, and may not command."""
    together, won, refused = threading.Barrier(2), [], []
    run, instruments = (night.settings.endpoint(f"{n}.commands") for n in ("run", "instruments"))

    def command(who: str) -> None:
        with sockets.calling(run, "run", Operator(who, who)) as conductor:
            together.wait()
            try:
                conductor.call("lease-take", 20.0, who=who, ticket=who, for_s=30.0)
                won.append(who)
            except RefusedError as error:
                refused.append((who, str(error)))

    threads = [threading.Thread(target=command, args=(who,)) for who in ("anna", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((loser, why),), (winner,) = refused, won
    assert winner in why
    write = {"instrument": "fridge", "parameter": "setpoint", "value": 0.012}
    with (
        sockets.calling(instruments, "instruments", Operator(loser, loser)) as other,
        sockets.calling(instruments, "instruments", Operator(winner, winner)) as chosen,
    ):
        until(lambda: _refused(other, "write", **write), "the instruments to know of the lease")
        chosen.call("write", 20.0, **write)
    with sockets.calling(run, "run", Operator(winner, winner)) as conductor:
        conductor.call("lease-release", 20.0, ticket=winner)


def _refused(caller: sockets.Caller, verb: str, **arguments: object) -> bool:
    try:
        caller.call(verb, 20.0, **arguments)
    except RefusedError:
        return True
    except ScheeliteError:
        return False
    return False


def bad_config(name: str) -> Inject:
    """The config is edited to nonsense; a service that dies then says what is wrong with it."""

    def inject(night: Night, hold_s: float) -> None:
        path = night.settings.path
        right = path.read_text(encoding="utf-8")
        assert "pretrigger = 2048" in right
        path.write_text(right.replace("pretrigger = 2048", "pretrigger = 9000"), encoding="utf-8")
        try:
            os.kill(night.pid(name), signal.SIGKILL)
            until(lambda: "pretrigger" in said(name), f"{name} to say what is wrong")
            assert system.status()["services"][name]["state"] == "given up"
            time.sleep(hold_s)
        finally:
            path.write_text(right, encoding="utf-8")

    return inject


def said(name: str) -> str:
    """What `status` says is wrong with a service."""
    return str(system.status()["services"].get(name, {}).get("problem", ""))


KILLS = tuple(kill(name) for name in SERVICES)
TERMS = tuple(terminate(name) for name in SERVICES)
STOPS = tuple(stop(name) for name in SERVICES)


def wires(unplugged: str, hung: str, garbage: str, slow: str) -> tuple[Fault, ...]:
    """What may be wrong with the wire of an instrument, on those that are named."""
    return (
        instrument("unplugged", "rst", ALONE, on=unplugged),
        instrument("hung", "stuck", ALONE, on=hung),
        instrument("garbage", "garbled", "no value is taken; comes back by itself", on=garbage),
        instrument("slow", "late", "waited for; others are on time", LATE_S, on=slow),
    )


OVERFLOW = Fault(
    name="digitizer overflow",
    how="memory overwritten while its service stands still",
    inject=overflowed,
    expect="a counted gap, as long as what is missing",
    loses=("targets",),
    must_lose=True,
)
CORRUPTION = Fault(
    name="block corruption",
    how="bench: wrong bytes in a packet of each digitizer",
    inject=corrupted,
    expect="refused by its CRC and had again; no sample is lost",
)
DISK_FULL = Fault(
    name="disk full",
    how="a tmpfs filled to the last byte",
    inject=disk_full,
    expect="paused-by-disk; goes on by itself; no sample is lost",
    skip=lambda night: night.disk.why_not,
)
CLOCK_STEP = Fault(
    name="clock step",
    how="the wall clock 1 h ahead, then back",
    inject=clock_step,
    expect="both in the run's messages; no sample is lost",
    skip=lambda night: "" if night.clock else "no C compiler for the false clock",
)
WINDOW = Fault(
    name="window killed",
    how="SIGKILL to the GUI",
    inject=window_killed,
    expect="nobody notices",
    skip=lambda _: qt_missing(),
)
VIEWER = Fault(
    name="slow subscriber",
    how="a stopped reader of traces and pulses",
    inject=slow_viewer,
    expect="nobody notices; the core's memory stays bounded",
)
COMMANDERS = Fault(
    name="two commanders",
    how="both take the lease at once and write a setpoint",
    inject=two_commanders,
    expect="one commands; the other is told who does",
)
CONFIG = Fault(
    name="config with mistakes",
    how="edited in mid-run, then kill -9 folder",
    inject=bad_config("folder"),
    expect="the mistake is named; back by itself when the file is right",
    restarts=("folder",),
)
CORE_CONFIG = Fault(
    name="config with mistakes, core",
    how="edited in mid-run, then kill -9 core",
    inject=bad_config("core"),
    expect="the mistake is named; back by itself when the file is right; no sample is lost",
    restarts=("core",),
)
OTHERS = (
    *wires("fridge", "fridge", "fridge", "fridge"),
    *(OVERFLOW, CORRUPTION, DISK_FULL, CLOCK_STEP, WINDOW, VIEWER, COMMANDERS, CONFIG),
    CORE_CONFIG,
)
FAULTS = (*KILLS, *TERMS, *STOPS, *OTHERS)


# --- several at once: the quick form of all, for `make test` ---


def together(*faults: Fault) -> Fault:
    """Faults that do not disturb each other, done at once; those that can be done here."""

    def inject(night: Night, hold_s: float) -> None:
        possible = [fault for fault in faults if not fault.skip(night)]
        with ThreadPoolExecutor(len(faults)) as pool:
            running = [pool.submit(fault.inject, night, hold_s) for fault in possible]
        for each in running:
            each.result()

    def skip(night: Night) -> str:
        return "; ".join(f"{f.name}: {why}" for f in faults if (why := f.skip(night)))

    return Fault(
        name=", ".join(fault.name for fault in faults),
        how="; ".join(fault.how for fault in faults),
        inject=inject,
        expect="; ".join(fault.expect for fault in faults),
        restarts=tuple(name for fault in faults for name in fault.restarts),
        loses=tuple(name for fault in faults for name in fault.loses),
        skip=skip,
    )


QUICK = (
    together(*(kill(name) for name in ("folder", "instruments", "run"))),
    together(*(kill(name) for name in ("digitizer.targets", "digitizer.vetoes"))),
    kill("core"),
    together(*wires("squids2", "squids3", "squids4", "fridge"), CORRUPTION, CLOCK_STEP),
    together(stop("folder"), WINDOW, VIEWER, COMMANDERS),
    stop("core"),
    OVERFLOW,
    DISK_FULL,
    CONFIG,
    terminate("core"),
)
