"""Whatever can be written as LJH is read back the same, and no cut of it passes for whole."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sim_hardware.ljh import LjhError, LjhFile, new_ljh, read_ljh, write_ljh

shapes = st.tuples(st.integers(1, 5), st.integers(1, 40))
samples = arrays.arrays(np.uint16, shapes)
TIME_STEPS_US = {"2.1.0": 4, "2.1.1": 4, "2.2.0": 1, "2.2.1": 1}


@st.composite
def files(draw: st.DrawFn) -> LjhFile:
    version = draw(st.sampled_from(sorted(TIME_STEPS_US)))
    values = draw(samples)
    many = st.lists(st.integers(0, 10**9), min_size=len(values), max_size=len(values))
    count = st.integers(0, 255)
    counts = sorted(draw(st.lists(count, min_size=len(values), max_size=len(values))))
    return new_ljh(
        version=version,
        timebase_s=draw(st.floats(1e-9, 1.0)),
        presamples=draw(st.integers(0, values.shape[1] - 1)),
        times_us=np.array(sorted(draw(many)), np.int64) * TIME_STEPS_US[version],
        samples=values,
        counts=np.array(counts, np.int64),
        channel_number=draw(st.integers(0, 10_000)),
        timestamp_offset_s=draw(st.floats(0, 1e10)),
    )


@given(files())
def test_what_was_written_is_read_back(file: LjhFile) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ljh"
        write_ljh(path, file)
        again = read_ljh(path)
        for name in ("times_us", "counts", "samples"):
            assert np.array_equal(getattr(file, name), getattr(again, name)), name
        for name in LjhFile.__slots__:
            if name not in ("path", "times_us", "counts", "samples"):
                assert getattr(file, name) == getattr(again, name), name


@given(files(), st.data())
def test_a_file_cut_anywhere_but_between_records_is_refused(
    file: LjhFile, data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ljh"
        write_ljh(path, file)
        whole = path.read_bytes()
        size = (len(whole) - len(file.header_text)) // file.n_records
        n_cut = data.draw(
            st.integers(1, len(whole)).filter(lambda n: n % size or n >= file.n_records * size)
        )
        path.write_bytes(whole[: len(whole) - n_cut])
        with pytest.raises(LjhError):
            read_ljh(path)
