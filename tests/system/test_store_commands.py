"""`scheelite recover` and `scheelite replay RUN`, as an operator runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.store import names
from daq.store.log import LogSettings
from daq.store.logfile import parse
from tests.store_runs import SIZES_CHECKED, record_run
from tests.system.chain import cli, cli_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run_000007"
    record_run(folder, SIZES_CHECKED, LogSettings(rotate_bytes=5000))
    return folder


def test_recover_makes_a_run_whole_and_says_what_it_did(folder: Path) -> None:
    told = cli_json("recover", folder)
    n = sum(SIZES_CHECKED)
    assert (told["ok"], told["problems"], told["records"]) == (True, [], {"C11": n, "SI": n})
    assert told["done"][-1] == "complete: made"
    again = cli("recover", names.master_path(folder))
    assert again.returncode == 0
    assert again.stdout == f"nothing was left to do\nwhole: {2 * n} records verified\n"


def test_recover_exits_1_and_names_what_is_lost(folder: Path) -> None:
    path = names.log_path(folder, 2)
    content = bytearray(path.read_bytes())
    content[parse(bytes(content), 7, 2, followed=True).units[0].frames[0].start + 60] ^= 1
    path.write_bytes(content)
    done = cli("recover", folder)
    assert done.returncode == 1
    assert "log/000002.damaged: commit 3 is not whole: what it held is lost" in done.stdout


def test_what_cannot_be_recovered_or_replayed_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path
) -> None:
    refused = cli("recover", tmp_path / "nothing")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "expected a run, found nothing" in refused.stderr
    refused = cli("replay", folder, "--out", tmp_path / "again")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "expected a run with raw streams, found none in it" in refused.stderr
    refused = cli("replay", folder, folder, "--out", tmp_path / "again")
    assert "expected one run alone, without --noise and --rate" in refused.stderr
