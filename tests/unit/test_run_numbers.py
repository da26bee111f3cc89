"""Run numbers are given once, whatever happens between."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from daq.errors import StorageError
from daq.store import numbers


def test_numbers_count_up(tmp_path):
    assert [numbers.new_run(tmp_path).name for _ in range(3)] == [
        "run_000001",
        "run_000002",
        "run_000003",
    ]


def test_a_number_is_not_given_again_when_its_run_is_moved_away(tmp_path):
    shutil.rmtree(numbers.new_run(tmp_path))
    assert numbers.run_number(numbers.new_run(tmp_path)) == 2


def test_a_lost_counter_does_not_repeat_what_is_there(tmp_path):
    numbers.new_run(tmp_path)
    (tmp_path / numbers.COUNTER).unlink()
    assert numbers.run_number(numbers.new_run(tmp_path)) == 2


def test_a_crash_between_counter_and_folder_costs_a_number_only(tmp_path):
    numbers.new_run(tmp_path)
    (tmp_path / numbers.COUNTER).write_text("7\n")
    assert numbers.run_number(numbers.new_run(tmp_path)) == 8


def test_many_at_once_get_different_numbers(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: numbers.new_run(tmp_path), range(40)))
    assert len(set(folders)) == 40


def test_a_spoiled_counter_is_named(tmp_path):
    (tmp_path / numbers.COUNTER).write_text("seven")
    with pytest.raises(StorageError, match=r"last_run: expected the number .* found 'seven'"):
        numbers.new_run(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/runs"):
        numbers.new_run(tmp_path / "file" / "runs")
