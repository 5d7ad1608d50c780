"""`.npz`: an archive of `.npy` members, read and written without pickles."""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from multiattn.weights.files.common import Budget, FileError, State, opaque, open_zip

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read(path: Path) -> tuple[State, list[str]]:
    """Reads every array."""
    state = {}
    with open_zip(path, Budget(path)) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                raise FileError(f"has the member {member.filename!r}, which is no array (.npy)")
            with archive.open(member) as file:
                state[member.filename.removesuffix(".npy")] = _array(file, member)
    return state, []


def write(path: Path, state: State) -> None:
    """Writes each array as a member, uncompressed."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in state.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, opaque(array), allow_pickle=False)


def _array(file: IO[bytes], member: zipfile.ZipInfo) -> np.ndarray:
    shape, fortran, dtype = HEADERS[npy.read_magic(file)](file)
    if dtype.hasobject:
        raise FileError(f"has pickled objects in {member.filename!r}")
    size = member.file_size - file.tell()
    if math.prod(shape) * dtype.itemsize != size:
        raise FileError(f"has {size} bytes for {shape} of {dtype} in {member.filename!r}")
    data = np.frombuffer(bytearray(file.read(size)), dtype)
    return data.reshape(shape, order="F" if fortran else "C")
