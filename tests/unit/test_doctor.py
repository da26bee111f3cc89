"""The doctor names the first broken link, whatever is wrong with the chain."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from daq.services.doctor import Facts, as_json, first_broken, walk

CHANNEL = {"rate_hz": 1.0, "records": 70, "livetime_s": 69.0}
CORE = {
    "digitizers": {"targets": {"state": "streaming", "next": 5, "refused": 0}},
    "state": "running",
    "elapsed_s": 70.0,
    "problem": "",
}
STATUS = {
    "run": "runs/run_000001",
    "state": "running",
    "services": {"core": {"pid": 1, "state": "running", "problem": "", "restarts": 0}},
    "channels": {"C11": CHANNEL},
    "core": CORE,
    "problem": "",
}
DIGITIZER = {
    "state": "streaming",
    "resource": "tcp://127.0.0.1:5601",
    "lost_samples": 0,
    "silent_s": 0.0,
    "problem": "",
}


def facts(*changes: tuple[str, object], **more: object) -> Facts:
    """A sound system, of which `changes` (dotted place, value) are wrong."""
    tree = copy.deepcopy({"status": STATUS, "targets": DIGITIZER, "folder": {"problem": ""}})
    for place, value in changes:
        *way, last = place.split(".")
        table = tree
        for step in way:
            table = table[step]
        table[last] = value
    given = {"free_bytes": 10**11, "writable": True, **more}
    return Facts(
        status=tree["status"],
        digitizers={"targets": tree["targets"]},
        folder=tree["folder"],
        data_dir=Path("runs"),
        **given,
    )


def test_a_sound_chain_holds():
    assert first_broken(walk(facts())) is None
    assert as_json(walk(facts()))["ok"]


@pytest.mark.parametrize(
    ("changed", "link", "said"),
    [
        (facts(("status.state", "down"), ("status.core", {})), "services", "nothing is up"),
        (facts(("status.services.core.state", "given up")), "service core", "given up"),
        (facts(("status.services.core.state", "lost")), "service core", "no news"),
        (
            facts(("targets.state", "connecting"), ("targets.problem", "refused")),
            "digitizer targets",
            "not connected to tcp://127.0.0.1:5601: refused",
        ),
        (
            facts(("targets.state", "silent"), ("targets.silent_s", 7.0)),
            "digitizer targets",
            "sends nothing for 7 s",
        ),
        (facts(("targets", {"problem": "did not answer"})), "digitizer targets", "did not answer"),
        (
            facts(("status.core.digitizers.targets.state", "silent")),
            "samples of targets",
            "silent in the core",
        ),
        (
            facts(("status.core.state", "failed"), ("status.core.problem", "disk on fire")),
            "core",
            "disk on fire",
        ),
        (facts(writable=False), "disk", "cannot be written"),
        (facts(free_bytes=5), "disk", "only 0.0 GB"),
        (facts(("folder.problem", "cannot fold")), "files", "cannot fold"),
        (facts(("status.state", "idle")), "run", "nothing is being recorded"),
        (facts(("status.state", "paused"), ("status.core.state", "paused")), "run", "is paused"),
        (facts(("status.channels.C11.records", 0)), "channel C11", "no record yet"),
    ],
)
def test_what_is_broken_is_named(changed, link, said):
    broken = first_broken(walk(changed))
    assert broken is not None
    assert broken.link == link
    assert said in broken.said
    assert as_json(walk(changed))["first_broken"] == link


def test_what_the_core_got_over_is_told_and_not_blamed():
    over = walk(facts(("status.core.problem", "vetoes has sent nothing for 5 s")))
    assert first_broken(over) is None
    assert any("lately: vetoes has sent" in found.said for found in over)


def test_a_young_run_need_not_have_records():
    young = facts(("status.channels.C11.records", 0), ("status.core.elapsed_s", 5.0))
    assert first_broken(walk(young)) is None
