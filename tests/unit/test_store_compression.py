"""Compressed datasets: what went in comes out by HDF5's own filters, and damage is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.errors import FormatError, SettingsError
from daq.settings import sections
from daq.settings.loader import parse
from daq.store import names
from daq.store.chunks import fletcher32
from daq.store.compression import WRITERS, needs, read_samples, write_dataset
from daq.store.folder import Folder
from daq.store.reader import open_run
from daq.store.verify import verify
from tests.store_runs import SIZES_CHECKED, record_run

ROW = np.dtype([("a", "<i8"), ("b", "<u2"), ("c", "S5")])
CONFIG = """
[experiment]
name = "t"
[storage]
compression = "{}"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
[kinds.k]
record_length = 256
pretrigger = 64
triggers = []
[channels]
A = {{ kind = "k", digitizer = "d", input = 0 }}
"""


def in_memory() -> h5py.File:
    return h5py.File("image", "w", driver="core", backing_store=False)


@given(st.binary(max_size=2000))
def test_the_checksum_is_hdf5s(data: bytes) -> None:
    check_checksum(np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("n", [1, 2, 65535, 131_070, 131_071])
def test_the_checksum_is_hdf5s_where_sums_wrap(n: int, fill: int) -> None:
    check_checksum(np.full(n, fill, np.uint8))


def check_checksum(data: np.ndarray) -> None:
    if not data.size:
        return
    with in_memory() as file:
        dataset = file.create_dataset("x", data=data, chunks=data.shape, fletcher32=True)
        file.flush()
        stored = dataset.id.read_direct_chunk((0,))[1]
    assert int.from_bytes(stored[-4:], "little") == fletcher32(data)


@given(
    st.sampled_from(list(WRITERS)),
    st.sampled_from([np.dtype("<i2"), np.dtype("<f4"), ROW]),
    st.integers(0, 700),
    st.sampled_from([(), (300,)]),
    st.integers(0, 9),
)
def test_what_is_written_is_what_hdf5_reads(compression, dtype, n, tail, seed) -> None:
    shape = (n, *tail)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(seed).integers(0, 256, n_bytes, np.uint8)
    array = raw.view(dtype).reshape(shape)
    with in_memory() as file:
        write_dataset(file, "group/x", array, compression)
        assert file["group/x"][:].tobytes() == array.tobytes()
        assert file["group/x"].dtype == dtype


@given(
    st.sampled_from(list(WRITERS)), st.integers(0, 700), st.sampled_from([(), (300,)]),
    st.integers(0, 9),
)  # fmt: skip
def test_what_we_read_of_samples_is_what_hdf5_reads(compression, n, tail, seed) -> None:
    array = np.random.default_rng(seed).integers(-(1 << 15), 1 << 15, (n, *tail), "<i2")
    with in_memory() as file:
        dataset = write_dataset(file, "x", array, compression)
        assert read_samples(dataset).tobytes() == array.tobytes()
        assert read_samples(dataset).dtype == dataset.dtype


def packed(samples: np.ndarray) -> tuple[h5py.File, h5py.Dataset]:
    file = in_memory()
    dataset = write_dataset(file, "x", samples, "gzip")
    file.flush()
    return file, dataset


SAMPLES = np.random.default_rng(4).normal(0, 20, (1500, 256)).astype("<i2")  # of three chunks


@pytest.mark.parametrize("chunk", [0, 1])
def test_no_flipped_bit_of_samples_that_we_read_goes_unnoticed(chunk) -> None:
    file, dataset = packed(SAMPLES)
    with file:
        at = (chunk * dataset.chunks[0], 0)
        mask, whole = dataset.id.read_direct_chunk(at)
        for bit in np.random.default_rng(3).integers(0, 8 * len(whole), 60).tolist():
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            dataset.id.write_direct_chunk(at, bytes(damaged), mask)
            with pytest.raises(ValueError, match=f"/x: chunk at row {at[0]}: its checksum is"):
                read_samples(dataset)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no deflate", "chunk at row 512: "),
        (zlib.compress(b"few"), "expected 262144 bytes or more, found 3"),
    ],
)
def test_what_is_packed_otherwise_is_refused_with_its_place(content, said) -> None:
    file, dataset = packed(SAMPLES)
    with file:
        summed = int(fletcher32(np.frombuffer(content, np.uint8))).to_bytes(4, "little")
        dataset.id.write_direct_chunk((512, 0), content + summed)
        with pytest.raises(ValueError, match=said):
            read_samples(dataset)


def test_a_chunk_without_its_filters_is_refused() -> None:
    file, dataset = packed(SAMPLES)
    with file:
        dataset.id.write_direct_chunk((512, 0), bytes(262144), 1)
        with pytest.raises(ValueError, match="chunk at row 512 lacks filters: mask 1"):
            read_samples(dataset)


def test_what_hdf5_reads_otherwise_than_we_do_is_refused(monkeypatch) -> None:
    file, dataset = packed(SAMPLES)
    with file:
        monkeypatch.setattr("daq.store.chunks.unshuffle_pairs", lambda raw, out: out.fill(1))
        with pytest.raises(ValueError, match="/x: HDF5 reads its first chunk otherwise"):
            read_samples(dataset)


def test_gzip_is_the_filters_that_every_reader_has() -> None:
    with in_memory() as file:
        dataset = write_dataset(file, "x", np.zeros((10, 10), "<i2"), "gzip")
        assert (dataset.shuffle, dataset.compression, dataset.fletcher32) == (True, "gzip", True)


@pytest.mark.parametrize("compression", WRITERS)
def test_no_flipped_bit_of_a_chunk_goes_unnoticed(compression) -> None:
    rng = np.random.default_rng(3)
    with in_memory() as file:
        array = rng.normal(0, 20, (8, 256)).astype("<i2")
        dataset = write_dataset(file, "x", array, compression)
        file.flush()
        mask, chunk = dataset.id.read_direct_chunk((0, 0))
        for at in rng.integers(0, 8 * len(chunk), 60).tolist():
            damaged = bytearray(chunk)
            damaged[at // 8] ^= 1 << at % 8
            dataset.id.write_direct_chunk((0, 0), bytes(damaged), mask)
            with pytest.raises(OSError, match="read"):
                dataset[:]


@pytest.mark.parametrize("compression", WRITERS)
def test_a_run_is_compressed_as_its_settings_say(tmp_path: Path, compression: str) -> None:
    folder = tmp_path / "run_000007"
    record_run(folder, SIZES_CHECKED, compression=compression)
    before = open_run(folder).records("C11")[1][:]
    folding = Folder(tmp_path, time.time_ns)
    folding.fold()
    assert folding.problems == {}
    assert verify(folder).problems == []
    assert np.array_equal(open_run(folder).records("C11")[1][:], before)
    with h5py.File(names.segment_path(folder, 1)) as file:
        assert file.attrs["compression"] == compression


@pytest.mark.skipif(not shutil.which("h5dump"), reason="Debian's package hdf5-tools is missing")
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_debians_h5dump_reads_the_samples(tmp_path: Path, compression: str) -> None:
    folder = tmp_path / "run_000007"
    record_run(folder, [3], compression=compression)
    Folder(tmp_path, time.time_ns).fold()
    path = names.segment_path(folder, 1)
    command = ["h5dump", "-y", "-w", "0", "-d", "/records/C11/samples", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    data = done.stdout.split("DATA {")[1].split("}")[0]
    found = np.array([int(value) for value in data.replace(",", " ").split()], np.int16)
    assert np.array_equal(found, open_run(folder).records("C11")[1][:].reshape(-1))


def test_a_file_that_needs_a_plugin_that_is_missing_says_so(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(FormatError, match="expected hdf5plugin for bitshuffle-lz4, found none"):
        needs("bitshuffle-lz4")


def test_a_run_that_needs_it_waits_for_it_with_its_log(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "run_000007"
    record_run(folder, [3], compression="bitshuffle-lz4")
    folding = Folder(tmp_path, time.time_ns)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "hdf5plugin", None)
        folding.fold()
    assert "pip install 'scheelite[compress]'" in folding.problems[7]
    assert names.logs(folder)
    folding.fold()
    assert verify(folder).problems == []


def test_a_compression_that_nobody_knows_is_refused() -> None:
    with pytest.raises(FormatError, match="gzip, bitshuffle-lz4, none, found 'zip'"):
        needs("zip")
    with pytest.raises(SettingsError, match=r"storage\.compression: input should be 'gzip', "):
        parse(CONFIG.format("zip"), Path("t.toml"))


def test_a_config_that_needs_a_missing_plugin_is_refused(monkeypatch) -> None:
    parse(CONFIG.format("bitshuffle-lz4"), Path("t.toml"))
    monkeypatch.setattr(sections, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"storage\.compression: expected hdf5plugin for"):
        parse(CONFIG.format("bitshuffle-lz4"), Path("t.toml"))


# seven quiet seconds of a guard's table: what ISA-L's stateless way packs in one of two ways
CHUNK = (
    "0000000001013444537a0000000000000000000000007080537a0000000000000000000000000303945e28c39bd6"
    "84845b5bd7d71818fefeffffd7d7a3a30000c0c0"
)
PROGRAM = """
import sys
import numpy as np
from daq.store.compression import gzip_chunk
print(gzip_chunk(np.frombuffer(bytes.fromhex(sys.argv[1]), np.uint8), 1).hex())
"""


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_chunk_is_packed_alike_in_every_process():
    """One in some hundreds differed, by where the system had laid its memory."""
    command = [sys.executable, "-c", PROGRAM, CHUNK]

    def made(_: int) -> bytes:
        return subprocess.run(command, capture_output=True, check=True).stdout

    with ThreadPoolExecutor(2) as threads:
        assert len(set(threads.map(made, range(300)))) == 1
