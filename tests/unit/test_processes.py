"""Our own processes are known by pid and birth, whatever becomes of the wall clock."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from daq.services import processes


def test_a_step_of_the_wall_clock_does_not_make_a_process_another_one(monkeypatch):
    mine = processes.described(os.getpid())
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 0.0)
    monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)
    assert processes.alive(mine)
    assert processes.described(os.getpid()) == mine


def test_a_pid_that_is_another_process_now_is_not_ours():
    mine = processes.described(os.getpid())
    other = processes.Process(pid=mine.pid, created=mine.created - 1.0)
    assert not processes.alive(other)


def test_what_has_ended_is_not_alive_and_cannot_be_described():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = processes.described(child.pid)
    assert processes.alive(known)
    child.communicate()
    assert not processes.alive(known)
    with pytest.raises(psutil.NoSuchProcess):
        processes.described(child.pid)
