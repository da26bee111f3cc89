"""How datasets are compressed: gzip made by ISA-L as direct chunks, bitshuffle-lz4, or not at all.

Whatever wrote it, a gzip dataset is plain HDF5 (shuffle, deflate, Fletcher-32) that every reader
opens without a plugin; bitshuffle-lz4 needs hdf5plugin on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.errors import FormatError, StorageError
from daq.model.block import Samples
from daq.store.start import Compression

CHUNK_BYTES = 1 << 18
GZIP_LEVEL = 1
Array = npt.NDArray[np.generic]
Group = Any  # Any: h5py has no types


def write_dataset(file: Group, path: str, array: Array, compression: Compression) -> Group:
    """A dataset that holds `array`, chunked along its first axis, with checksums."""
    if not len(array):
        return file.create_dataset(path, data=array, dtype=array.dtype)
    return WRITERS[compression](file, path, np.ascontiguousarray(array))


def read_samples(dataset: Group) -> Samples:
    """All samples of a dataset. Those that ISA-L packed it unpacks, four times as fast as HDF5's
    own filters, which read the first chunk as well; ValueError where that is not the same."""
    ours = (dataset.compression, dataset.shuffle, dataset.fletcher32) == ("gzip", True, True)
    if not ours or dataset.dtype.itemsize != 2 or not len(dataset):
        return np.asarray(dataset[:], dataset.dtype)
    samples: Samples = np.empty(dataset.shape, dataset.dtype)
    n_rows, rest = dataset.chunks[0], (0,) * (dataset.ndim - 1)
    for first in range(0, len(dataset), n_rows):
        mask, chunk = dataset.id.read_direct_chunk((first, *rest))
        if mask:
            raise ValueError(f"{dataset.name}: chunk at row {first} lacks filters: mask {mask}")
        _ungzip(chunk, samples[first : first + n_rows], f"{dataset.name}: chunk at row {first}")
    if not np.array_equal(dataset[:n_rows], samples[:n_rows]):
        raise ValueError(f"{dataset.name}: HDF5 reads its first chunk otherwise than we do")
    return samples


def _ungzip(chunk: bytes, rows: Samples, what: str) -> None:
    """Undo `gzip_chunk` of two-byte items."""
    from isal import igzip_lib, isal_zlib

    from daq.store.chunks import fletcher32, unshuffle_pairs

    packed = np.frombuffer(chunk, np.uint8)[:-4]
    if int(fletcher32(packed)) != int.from_bytes(chunk[-4:], "little"):
        raise ValueError(f"{what}: its checksum is wrong")
    try:
        shuffled = np.frombuffer(isal_zlib.decompress(packed), np.uint8)
    except igzip_lib.IsalError as error:  # type: ignore[misc] # a class, which its stub denies
        raise ValueError(f"{what}: {error}") from error
    if shuffled.size < rows.nbytes:
        raise ValueError(f"{what}: expected {rows.nbytes} bytes or more, found {shuffled.size}")
    unshuffle_pairs(shuffled, rows.reshape(-1).view(np.uint8))


def needs(compression: str) -> None:
    """Make HDF5 able to read and write `compression`; FormatError where it cannot be.

    Called only where a file needs it: the import takes 0.3 s and brings 186 MB of plugins.
    """
    if compression == "bitshuffle-lz4":
        try:
            import hdf5plugin  # noqa: F401 - importing it registers the filters
        except ImportError as error:
            raise FormatError(
                "expected hdf5plugin for bitshuffle-lz4, found none: "
                "pip install 'scheelite[compress]'"
            ) from error
    elif compression not in WRITERS:
        known = ", ".join(WRITERS)
        raise FormatError(f"expected one of the compressions {known}, found {compression!r}")


def gzip_chunk(raw: npt.NDArray[np.uint8], item_bytes: int) -> bytes:
    """A whole chunk as HDF5's shuffle, deflate and Fletcher-32 filters would leave it."""
    from isal import isal_zlib

    from daq.store.chunks import fletcher32, shuffle, shuffle_pairs  # numba: readers do without

    shuffled = np.empty_like(raw)
    if item_bytes == 2:
        shuffle_pairs(raw, shuffled)
    else:
        shuffle(raw, item_bytes, shuffled)
    # not isal_zlib.compress: in one process of some hundreds it makes other bytes of the same
    packer = isal_zlib.compressobj(GZIP_LEVEL)
    packed: bytes = packer.compress(shuffled.data) + packer.flush()
    return packed + int(fletcher32(np.frombuffer(packed, np.uint8))).to_bytes(4, "little")


def _gzip(file: Group, path: str, array: Array) -> Group:
    n_rows = chunk_rows(array)
    dataset = file.create_dataset(
        path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=(n_rows, *array.shape[1:]),
        compression="gzip",
        compression_opts=GZIP_LEVEL,
        shuffle=True,
        fletcher32=True,
    )
    rest = (0,) * (array.ndim - 1)
    for first in range(0, len(array), n_rows):
        raw = _padded(array[first : first + n_rows], n_rows)
        dataset.id.write_direct_chunk((first, *rest), gzip_chunk(raw, array.dtype.itemsize))
    return dataset


def _bitshuffle(file: Group, path: str, array: Array) -> Group:
    try:
        needs("bitshuffle-lz4")
    except FormatError as error:
        raise StorageError(str(error)) from error
    import hdf5plugin

    filters = dict(hdf5plugin.Bitshuffle(cname="lz4"))
    chunks = (chunk_rows(array), *array.shape[1:])
    return file.create_dataset(path, data=array, chunks=chunks, fletcher32=True, **filters)


def _plain(file: Group, path: str, array: Array) -> Group:
    chunks = (chunk_rows(array), *array.shape[1:])
    return file.create_dataset(path, data=array, chunks=chunks, fletcher32=True)


def chunk_rows(array: Array) -> int:
    """Rows of a chunk of about `CHUNK_BYTES`, at least one and at most all."""
    row_bytes = array.nbytes // len(array)
    return min(len(array), max(1, CHUNK_BYTES // max(1, row_bytes)))


def _padded(rows: Array, n_rows: int) -> npt.NDArray[np.uint8]:
    """The rows' bytes, with zeros up to `n_rows`: chunks at the end are whole, too."""
    raw = rows.reshape(-1).view(np.uint8)
    missing = (n_rows - len(rows)) * (raw.size // len(rows))
    return np.concatenate([raw, np.zeros(missing, np.uint8)]) if missing else raw


WRITERS: dict[str, Callable[[Group, str, Array], Group]] = {
    "gzip": _gzip,
    "bitshuffle-lz4": _bitshuffle,
    "none": _plain,
}
