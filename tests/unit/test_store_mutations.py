"""Whatever is changed in a complete run, verification names the place: one damage after another."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daq.store import layout, names, verify
from daq.store.check import Finding, check_file
from daq.store.folder import Folder
from daq.store.log import LogSettings
from tests.store_runs import LENGTHS, SIZES_CHECKED, record_run

SEGMENT, MASTER = "segment_000002.h5", "run_000007.h5"
# what no other place repeats: only the sums in the manifest vouch for it
VOUCHED_BY_SUMS = {"created"}
CALLED = {
    "format": "scheelite-run file",
    "format_version": "format version",
    "first_commit": "commit",
    "last_commit": "commit",
}
TOLD_BY = {"digitizers": "stop", "run_start": "RunStart", "run_end": "RunEnd"}
FLAT = [*layout.TEXTS, *layout.FIXED_TABLES]
RECORDED = [path(name) for name in LENGTHS for path in (layout.table_path, layout.samples_path)]
RECORDED += [layout.raw_pieces_path("C11"), layout.raw_samples_path("C11")]
ROWS = layout.TABLES | {layout.table_path(name): layout.RECORDS for name in LENGTHS}
ROWS |= {layout.raw_pieces_path("C11"): layout.RAW_PIECES}
Damage = Callable[[Any], None]  # Any: h5py has no types


class InProcess:
    """The checker without its child: none of these damages crashes HDF5."""

    def __init__(self, _timeout_s: float) -> None:
        pass

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check(self, path: Path) -> Finding:
        return check_file(path)


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "Checker", InProcess)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run_000007"
    record_run(folder, SIZES_CHECKED, LogSettings(rotate_bytes=30_000), raw=["C11"])
    Folder(folder.parent, time.time_ns).fold()
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run_000007")


def named(folder: Path, file: str, word: str) -> list[str]:
    """What is found with every sum made to fit the damaged file: only its meaning can tell."""
    found = check_file(folder / file)  # which verification repeats in a child
    if any(word in problem for problem in [*found.problems, found.foreign]):
        return []
    content = (folder / file).read_bytes()
    path = names.manifest_path(folder)
    manifest = json.loads(path.read_bytes())
    for entry in [*manifest["segments"], manifest["master"]]:
        if entry["name"] == file:
            entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))
    remark(folder)
    problems = verify.verify(folder).problems
    return [] if any(word in problem for problem in problems) else ["nothing", *problems]


def remark(folder: Path) -> None:
    marker = names.complete_path(folder)
    digest = hashlib.sha256(names.manifest_path(folder).read_bytes()).hexdigest()
    marker.write_text(json.dumps(json.loads(marker.read_bytes()) | {"manifest_sha256": digest}))


def other(value: Any) -> Any:
    """A value of the same kind that is not this one."""
    if isinstance(value, str | bytes):
        return value[:-1] + ("~" if isinstance(value, str) else b"~") if value else "~"
    return value + 1


def without_attribute(path: str, name: str) -> Damage:
    return lambda file: file[path].attrs.__delitem__(name)


def with_another_attribute(path: str, name: str) -> Damage:
    return lambda file: file[path].attrs.__setitem__(name, other(file[path].attrs[name]))


def without_dataset(path: str) -> Damage:
    return lambda file: file.__delitem__(path)


def with_another_value(path: str) -> Damage:
    """The last byte of the first value is another one."""

    def damage(file: Any) -> None:
        dataset, kind, attributes = file[path], file[path].dtype, dict(file[path].attrs)
        raw = bytearray(np.array(dataset[()], kind).tobytes())
        raw[kind.itemsize - 1] ^= 1
        value = np.frombuffer(bytes(raw), kind).reshape(dataset.shape)
        del file[path]
        file.create_dataset(path, data=value, dtype=kind).attrs.update(attributes)

    return damage


def structural() -> Iterator[Any]:
    """(file, damage, word that must be named) for every attribute and dataset of the layout."""
    for file in (SEGMENT, MASTER):
        told = [n for n in layout.ATTRIBUTES if file == MASTER or n not in layout.OPTIONAL]
        for name in told:
            word = CALLED.get(name, name)
            yield pytest.param(
                file, without_attribute("/", name), word, id=f"{file} without @{name}"
            )
            if name not in VOUCHED_BY_SUMS:
                damage = with_another_attribute("/", name)
                yield pytest.param(file, damage, word, id=f"{file} other @{name}")
        for path in [*FLAT, *layout.TABLES, *RECORDED]:
            yield pytest.param(file, without_dataset(path), path, id=f"{file} no {path}")
            for change in (without_attribute, with_another_attribute):
                damage = change(path, "meaning")
                yield pytest.param(file, damage, f"/{path}", id=f"{file} {path} {change.__name__}")
        for path in FLAT:
            damage = with_another_value(path)
            word = TOLD_BY.get(path, path)
            yield pytest.param(file, damage, word, id=f"{file} other {path}")
        yield pytest.param(file, lambda f: f.create_dataset("x", data=1), "/x", id=f"{file} more")
        yield pytest.param(file, lambda f: f.attrs.update(y=1), "attribute y", id=f"{file} more @")
    for path, table in ROWS.items():
        for column in table.dtype.names or ():
            damage = without_attribute(path, f"{column}.meaning")
            yield pytest.param(SEGMENT, damage, f"{column}.meaning", id=f"{path} no {column}")


@pytest.mark.parametrize(("file", "damage", "word"), list(structural()))
def test_every_attribute_and_dataset_is_missed_when_it_is_gone_or_changed(
    folder: Path, file: str, damage: Damage, word: str
) -> None:
    with h5py.File(folder / file, "a") as opened:
        damage(opened)
    assert named(folder, file, word) == []


@pytest.mark.parametrize("path", [*FLAT, *layout.TABLES, *RECORDED])
def test_a_changed_value_in_any_dataset_is_named_by_its_file(folder: Path, path: str) -> None:
    """The manifest as it is: a value that nothing else repeats is vouched for by the sums."""
    with h5py.File(folder / SEGMENT, "a") as file:
        if not file[path].size:
            file[path].attrs["meaning"] = "nothing"
        else:
            with_another_value(path)(file)
    assert any(SEGMENT in problem for problem in verify.verify(folder).problems)


@pytest.mark.parametrize("path", [*layout.TABLES, *RECORDED])
def test_a_flipped_bit_in_any_chunk_names_its_dataset(folder: Path, path: str) -> None:
    for name in names.segments(folder).values():
        with h5py.File(name) as file:
            if not file[path].size:
                continue
            info = file[path].id.get_chunk_info(0)
        content = bytearray(name.read_bytes())
        content[info.byte_offset + info.size // 2] ^= 16
        name.write_bytes(content)
        problems = check_file(name).problems
        assert any(f"{name.name}: /{path}: damaged" in problem for problem in problems), problems
        return
    pytest.fail(f"no segment has rows in {path}")


@pytest.mark.parametrize("file", [SEGMENT, MASTER, "manifest.json", "complete"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped"])
def test_every_file_is_missed_when_it_is_gone_or_changed(
    folder: Path, file: str, damage: str
) -> None:
    path = folder / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        at = content.index(b'"manifest_sha256":"') + 25 if file == "complete" else len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    problems = verify.verify(folder).problems
    word = {"complete": "manifest.json" if damage == "flipped" else "complete"}.get(file, file)
    assert any(word in problem for problem in problems), problems


MANIFEST = "run name comment software started stopped reason recovered channels rows digitizers"


@pytest.mark.parametrize("key", [*MANIFEST.split(), "segments", "master", "problems"])
def test_every_key_of_the_manifest_is_checked(folder: Path, key: str) -> None:
    path = names.manifest_path(folder)
    manifest = json.loads(path.read_bytes())
    manifest[key] = changed(manifest[key])
    path.write_text(json.dumps(manifest))
    remark(folder)
    problems = verify.verify(folder).problems
    word = {"segments": "segment_000001.h5", "master": MASTER, "problems": "what?"}.get(key, key)
    assert any(word in problem for problem in problems), problems


def changed(value: Any) -> Any:
    """The same shape with one leaf changed."""
    if isinstance(value, dict):
        key = next(key for key in value if key not in ("name", "bytes"))
        return value | {key: changed(value[key])}
    if isinstance(value, list):
        return [changed(value[0]), *value[1:]] if value else ["what?"]
    if isinstance(value, bool):
        return not value
    return value[:-1] + "~" if isinstance(value, str) else value + 1
