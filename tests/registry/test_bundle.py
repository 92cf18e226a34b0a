"""A bundle comes back equal to the bit, or is refused with a sentence; it is never half there."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import pickle
import resource
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from appraise.errors import BundleError, OutputError
from appraise.features.state import State
from appraise.registry.bundle import read_bundle, read_manifest, verify_bundle, write_bundle
from appraise.registry.npz import pack_arrays, unpack_arrays

Make = Callable[..., Path]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcß ", max_size=5), inner, max_size=3),
    max_leaves=8,
)
_DTYPES = hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes() | hnp.unicode_string_dtypes()
_ARRAYS = _DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.dictionaries(st.text("abc", max_size=4), _JSON, max_size=4),
    arrays=st.dictionaries(st.sampled_from(["a", "b/c", "Straße 5", "x.y"]), _ARRAYS, max_size=3),
)
def test_what_is_written_comes_back_equal_to_the_bit(tmp_path, manifest, data, arrays):
    folder = tmp_path / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    write_bundle(folder, manifest=manifest, parts={"part": State(data, arrays)})
    found = read_bundle(folder).parts["part"]
    assert repr(found.data) == repr(data)  # NaN is not equal to itself
    assert list(found.arrays) == list(arrays)
    for name, array in arrays.items():
        again = found.arrays[name]
        assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_memory_layout_is_kept_and_arrays_can_be_written_to():
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    found = unpack_arrays(pack_arrays({"x": array, "y": array[:, ::2]}))
    assert found["x"].flags.f_contiguous
    found["x"][0, 0] = 7
    assert found["y"].tolist() == array[:, ::2].tolist()


def test_equal_states_give_equal_bytes(make_bundle: Make):
    first, second = make_bundle(), make_bundle()
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_the_manifest_says_what_it_was_given_and_hashes_every_file(make_bundle: Make, manifest):
    folder = make_bundle()
    found = read_manifest(folder)
    assert dataclasses.replace(found, files={}) == manifest
    assert set(found.files) == _names(folder) - {"manifest.json", "manifest.sha256"}
    for name, entry in found.files.items():
        assert entry.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_a_metric_that_is_not_a_number_is_null_in_the_manifest(make_bundle: Make):
    folder = make_bundle(metrics={"holdout": {"rmse": float("nan")}})
    assert json.loads((folder / "manifest.json").read_text())["metrics"] == {"holdout": {"rmse": None}}


def test_native_models_come_back(make_bundle: Make):
    assert read_bundle(make_bundle()).natives == {"catboost.cbm": b"CBM1 trees"}


def test_one_flipped_bit_anywhere_is_noticed(make_bundle: Make):
    folder = make_bundle()
    chance = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        places = range(len(whole)) if len(whole) < 100 else chance.choice(len(whole), 100, replace=False)
        for place in places:
            changed = bytearray(whole)
            changed[place] ^= 1 << chance.integers(8)
            path.write_bytes(changed)
            with pytest.raises(BundleError, match="is damaged"):
                read_bundle(folder)
        path.write_bytes(whole)
    assert read_bundle(folder)


def test_a_file_cut_short_or_grown_is_noticed(make_bundle: Make):
    folder = make_bundle()
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for changed in (b"", whole[: len(whole) // 2], whole[:-1], whole + b"\n", whole + whole):
            path.write_bytes(changed)
            with pytest.raises(BundleError, match="is damaged"):
                read_bundle(folder)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "pool.npz", "pool.json", "catboost.cbm"])
def test_a_missing_file_is_noticed(make_bundle: Make, name):
    folder = make_bundle()
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["model.pkl", "extra.json", ".hidden", "notes.txt"])
def test_a_file_that_the_manifest_does_not_name_is_refused(make_bundle: Make, name):
    folder = make_bundle()
    (folder / name).write_bytes(b"{}")
    with pytest.raises(BundleError, match=f"holds '{name}', which its manifest does not name"):
        read_bundle(folder)


def test_links_and_folders_in_place_of_files_are_refused(make_bundle: Make, tmp_path):
    for replace in (lambda path: path.symlink_to(tmp_path / "elsewhere"), Path.mkdir):
        folder = make_bundle()
        target = folder / "pool.npz"
        target.rename(tmp_path / "elsewhere")
        replace(target)
        with pytest.raises(BundleError, match="not a plain file"):
            read_bundle(folder)


def test_another_bundle_than_the_registry_recorded_is_refused(make_bundle: Make):
    folder = make_bundle()
    digest = verify_bundle(folder)
    assert read_bundle(folder, digest=digest).digest == digest
    other = make_bundle(kind="ridge")
    with pytest.raises(BundleError, match="not the bundle that the registry recorded"):
        read_bundle(other, digest=digest)


def test_a_bundle_of_another_spec_is_refused(make_bundle: Make):
    folder = make_bundle(spec_hash="b" * 64)
    assert read_bundle(folder, spec_hash="b" * 64)
    with pytest.raises(BundleError, match="another spec of homes") as caught:
        read_bundle(folder, spec_hash="c" * 64)
    assert "train" in caught.value.hint


def test_no_bundle_at_all_is_said_so(tmp_path):
    with pytest.raises(BundleError, match="there is no model bundle at"):
        read_bundle(tmp_path / "nowhere")


# Bundles that somebody made on purpose: every hash in them is right.


def _forge(folder: Path, files: dict[str, bytes], manifest: dict[str, object] | None = None) -> Path:
    """Put files into a bundle and make its hashes right."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    document = json.loads((folder / "manifest.json").read_bytes())
    for name, data in files.items():
        document["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    _sign(folder, json.dumps({**document, **(manifest or {})}).encode())
    return folder


def _sign(folder: Path, manifest: bytes) -> None:
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n")


def _zip(members: dict[str, bytes], **options: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _npy(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


class _Bomb:
    """Unpickling it would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_loaded_whatever_it_is_called(make_bundle: Make, tmp_path, protocol):
    trace = tmp_path / "trace"
    data = pickle.dumps(_Bomb(trace), protocol)
    objects = np.array([_Bomb(trace)], dtype=object)
    attempts = {
        "model.pkl": data,
        "model.joblib": data,
        "encoder.npz": data,
        "encoder.json": data,
        "pool.npz": _zip({"price.npy": _npy(objects, allow_pickle=True)}),
        "encoder.npz ": data,
    }
    for name, content in attempts.items():
        with pytest.raises(BundleError, match="is damaged"):
            read_bundle(_forge(make_bundle(), {name: content}))
    with pytest.raises(BundleError, match="is damaged"):
        read_bundle(_forge(make_bundle(), {"pool.npz": _zip({"price.pkl": data})}))
    assert not trace.exists()


def test_a_native_file_that_is_a_pickle_is_refused(make_bundle: Make):
    with pytest.raises(BundleError, match="is a pickle"):
        read_bundle(_forge(make_bundle(), {"catboost.cbm": pickle.dumps([1])}))


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/evil.json", "a/b.json", "..", ".json", "pool\x00.json", "Pool.json"]
)
def test_names_that_lead_elsewhere_are_refused(make_bundle: Make, name):
    folder = make_bundle()
    document = json.loads((folder / "manifest.json").read_bytes())
    document["files"][name] = document["files"]["pool.json"]
    _sign(folder, json.dumps(document).encode())
    with pytest.raises(BundleError, match="may not hold"):
        read_bundle(folder)


def test_an_archive_without_its_json_file_is_refused(make_bundle: Make):
    with pytest.raises(BundleError, match="no JSON file beside it"):
        read_bundle(_forge(make_bundle(), {"stray.npz": pack_arrays({"x": np.zeros(1)})}))


def _lying(shape: str, data: bytes = b"\0" * 8) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"", "not a readable archive"),
        (b"PK\x05\x06", "not a readable archive"),
        (_zip({"x.npy": _npy(np.zeros(10**6))}, compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (_zip({"x.npy": b"no array"}), "magic"),
        (_zip({"x.txt": b"text"}), "is not an array"),
        (_zip({"x.npy": _lying("(1000000000000,)")}), "not a readable archive|too small|larger"),
        (_zip({"x.npy": _lying("(-1,)")}), "negative"),
        (_zip({"x.npy": _lying("(1,)", b"\0" * 16)}), "shorter than its data"),
        (_zip({"x.npy": _lying("__import__('os').abort()")}), "malformed"),
        (_zip({"x.npy": _npy(np.zeros(1, "datetime64[D]"))}), "datetime64"),
        (_zip({"x.npy": _npy(np.zeros(1, [("a", "f8")]))}), "neither numeric"),
    ],
    ids=["empty", "stub", "bomb", "no array", "text", "huge", "negative", "spare bytes", "code", "dates", "records"],
)
def test_archives_that_lie_are_refused(make_bundle: Make, archive, reason):
    with pytest.raises(BundleError, match=f"is damaged: pool.npz: .*({reason})"):
        read_bundle(_forge(make_bundle(), {"pool.npz": archive}))


def test_an_archive_whose_members_overlap_is_refused(make_bundle: Make):
    # The second member lies within the data of the first: a few such layers make a small archive huge.
    inner = _zip({"b.npy": _npy(np.arange(200.0))})
    outer = _zip({"a.npy": _npy(np.frombuffer(inner[: inner.index(b"PK\x01\x02")], np.uint8))})
    start = outer.index(b"PK\x01\x02")
    entry = inner[inner.index(b"PK\x01\x02") : inner.index(b"PK\x05\x06")]
    place = outer.index(b"PK\x03\x04", 4)
    directory = outer[start : outer.index(b"PK\x05\x06")] + entry[:42] + place.to_bytes(4, "little") + entry[46:]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), start, 0)
    overlapping = outer[:start] + directory + end
    with zipfile.ZipFile(io.BytesIO(overlapping)) as archive:
        assert archive.testzip() is None
    with pytest.raises(BundleError, match="claim to be larger than their archive"):
        read_bundle(_forge(make_bundle(), {"pool.npz": overlapping}))


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b"{", b"\xff\xfe", b'{"a": ' + b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"]
)
def test_part_data_that_is_not_a_json_object_is_refused(make_bundle: Make, data):
    with pytest.raises(BundleError, match=r"is damaged: .*"):
        read_bundle(_forge(make_bundle(), {"encoder.json": data}))


@pytest.mark.parametrize(
    "manifest", [b"", b"null", b"[]", b"{}", b"{", b"[" * 100_000, b'{"format_version": "1"}', b'{"format_version": 1}']
)
def test_a_manifest_that_is_none_is_refused(make_bundle: Make, manifest):
    folder = make_bundle()
    _sign(folder, manifest)
    with pytest.raises(BundleError, match="is not a manifest"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "wrong",
    [{"version": "1"}, {"created_at": "today"}, {"files": {"a.json": 3}}, {"files": []}, {"name": None}],
    ids=str,
)
def test_a_manifest_with_a_wrong_value_is_refused(make_bundle: Make, wrong):
    with pytest.raises(BundleError, match="is not a manifest"):
        read_bundle(_forge(make_bundle(), {}, wrong))


def test_a_format_of_the_future_is_refused_by_its_number(make_bundle: Make):
    with pytest.raises(BundleError, match="format version 2, which this program does not know"):
        read_bundle(_forge(make_bundle(), {}, {"format_version": 2, "spec": "something new"}))


def test_a_size_that_is_not_the_files_is_refused(make_bundle: Make):
    folder = make_bundle()
    for size in (0, -1, 10**15):
        document = json.loads((folder / "manifest.json").read_bytes())
        document["files"]["pool.npz"]["bytes"] = size
        _sign(folder, json.dumps(document).encode())
        with pytest.raises(BundleError, match=r"is damaged: pool\.npz"):
            read_bundle(folder)


# Writing


@pytest.mark.parametrize(
    "arrays",
    [{"x": np.array([object()])}, {"x": np.zeros(1, "datetime64[D]")}, {"": np.zeros(1)}, {"a\\b": np.zeros(1)}],
)
def test_arrays_that_could_not_be_read_again_are_not_written(tmp_path, manifest, arrays):
    with pytest.raises(ValueError, match=r"dtype|cannot name"):
        write_bundle(tmp_path / "bundle", manifest=manifest, parts={"part": State({}, arrays)})
    assert _names(tmp_path) == set()


@pytest.mark.parametrize(
    ("parts", "natives"),
    [
        ({"Pool": State()}, {}),
        ({"../pool": State()}, {}),
        ({"manifest": State()}, {}),
        ({}, {"model.pkl": b""}),
        ({}, {"model": b""}),
        ({}, {"model.cbm": pickle.dumps(1)}),
    ],
)
def test_names_that_could_not_be_read_again_are_not_written(tmp_path, manifest, parts, natives):
    with pytest.raises(ValueError, match=r"cannot name a part|not a native model file"):
        write_bundle(tmp_path / "bundle", manifest=manifest, parts=parts, natives=natives)
    assert _names(tmp_path) == set()


def test_a_bundle_is_never_overwritten(make_bundle: Make, manifest):
    folder = make_bundle()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OutputError, match="is there already"):
        write_bundle(folder, manifest=manifest, parts={})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write files larger than `size`, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, manifest):
    part = State({}, {"x": np.zeros(100_000)})
    with _largest_file(200_000), pytest.raises(OutputError, match=os.strerror(errno.EFBIG)) as caught:
        write_bundle(tmp_path / "bundle", manifest=manifest, parts={"small": State(), "large": part})
    assert "room" in caught.value.hint
    assert _names(tmp_path) == set()


def test_ctrl_c_while_writing_leaves_nothing_and_the_next_try_works(tmp_path, manifest, parts, monkeypatch):
    synced = iter([None, None, KeyboardInterrupt()])

    def interrupted(_descriptor: int) -> None:
        if (error := next(synced)) is not None:
            raise error

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "bundle", manifest=manifest, parts=parts)
    monkeypatch.undo()
    assert _names(tmp_path) == set()
    write_bundle(tmp_path / "bundle", manifest=manifest, parts=parts)
    assert read_bundle(tmp_path / "bundle")


def test_a_place_that_may_not_be_written_is_named(tmp_path, manifest):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written to"):
        write_bundle(tmp_path / "file" / "bundle", manifest=manifest, parts={})
