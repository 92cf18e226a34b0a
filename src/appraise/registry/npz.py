"""Named arrays as a zip of `.npy` members, the layout of `numpy.savez`, read and written without pickle.

`numpy.load` would do, but its archive may be compressed and its members objects. Here members are stored as they
are, which loads faster than any compression and rules zip bombs out: no member can be larger than the archive.
Equal arrays give equal bytes, so that a bundle's hashes say whether two models are the same.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_SUFFIX = ".npy"
#: Booleans, signed and unsigned integers, floats and fixed-width text.
_KINDS = frozenset("biufU")
# The earliest time a zip can say: the bytes must not depend on when they were written.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as one archive, in the mapping's order, memory layout kept.

    Raises:
        ValueError: for an array of anything but numbers or fixed-width text, or a name that a zip cannot hold.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            if not name or "\0" in name or "\\" in name:
                raise ValueError(f"{name!r} cannot name an array in an archive")
            if array.dtype.kind not in _KINDS:
                raise ValueError(
                    f"array {name!r} has dtype {array.dtype}, which is neither numeric nor fixed-width text"
                )
            member = zipfile.ZipInfo(name + _SUFFIX, date_time=_EPOCH)
            member.create_system = 3  # the default depends on the operating system
            with archive.open(member, "w", force_zip64=True) as stream:
                npy.write_array(stream, array, allow_pickle=False)
    return buffer.getvalue()


def unpack_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an archive, each with memory of its own.

    Raises:
        ValueError: where the archive is not one that `pack_arrays` could have written.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, len(data))
            return {member.filename.removesuffix(_SUFFIX): _unpack(archive.read(member)) for member in members}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, TypeError, SyntaxError) as error:
        raise ValueError(f"not a readable archive of arrays ({error})") from error


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    seen = set()
    for member in members:
        name = member.filename
        if not name.endswith(_SUFFIX) or name == _SUFFIX:
            raise ValueError(f"member {name!r} is not an array")
        if name in seen:
            raise ValueError(f"member {name!r} is there twice")
        seen.add(name)
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"member {name!r} is compressed")
    if sum(member.file_size for member in members) > size:
        raise ValueError("the members claim to be larger than their archive")


def _unpack(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"array format {version} is not supported")
    shape, fortran, dtype = npy.read_array_header_1_0(stream)
    if dtype.kind not in _KINDS:
        raise ValueError(f"dtype {dtype} is neither numeric nor fixed-width text")
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape} has a negative length")
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=data, offset=stream.tell(), order="F" if fortran else "C")
    if array.nbytes != len(data) - stream.tell():
        raise ValueError("an array is shorter than its data")
    # A view of `data` would be read-only, and a compiled kernel is compiled anew for read-only arrays.
    return array.copy(order="K")
