"""What the file formats share: their error, the bounds on memory, checks of names and arrays."""

import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

State = dict[str, np.ndarray]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = {
    BFLOAT16,
    *map(np.dtype, ("bool", "float16", "float32", "float64", "complex64", "complex128")),
    *map(np.dtype, ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")),
}
MAX_NAME = 1024
# What is read may take MAX_EXPANSION times the file's size in memory (compression, and arrays that
# share their data, make it larger than the file), and always FREE_BYTES.
MAX_EXPANSION = 32
FREE_BYTES = 64 * 2**20


class FileError(ValueError):
    """A weight file can't be read or written; says which file, and what is wrong with it."""


class NeedsModelError(FileError):
    """Keras wrote the file, and only the live model knows which of its variables are which."""


class Budget:
    """The memory that what is read from a file may still take."""

    def __init__(self, path: Path):
        self.left = max(FREE_BYTES, MAX_EXPANSION * path.stat().st_size)

    def spend(self, size: int) -> None:
        """Takes `size` bytes off; raises FileError where there are not as many left."""
        self.left -= size
        if self.left < 0:
            raise FileError(f"would take over {MAX_EXPANSION} times its own size in memory")


def open_zip(path: Path, budget: Budget) -> zipfile.ZipFile:
    """Opens a zip archive whose members have usable names and, unpacked, fit the budget."""
    archive = zipfile.ZipFile(path)
    names = set()
    for member in archive.infolist():
        check_name(member.orig_filename)
        if member.filename in names:
            raise FileError(f"has two members {member.filename!r}")
        names.add(member.filename)
        budget.spend(member.file_size)
    return archive


def unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    """Returns a member's bytes, of which no more are unpacked than the archive says there are."""
    with archive.open(name) as file:
        return file.read(archive.getinfo(name).file_size)


def check_name(name: object) -> None:
    """Refuses what no tensor and no member of an archive is called in good faith."""
    if not isinstance(name, str):
        raise FileError(f"has a name of type {type(name).__name__} where a string belongs")
    bad_end = name[:1] in "./\\" or name[-1:] in "./\\"  # so has an empty name
    if bad_end or ".." in name or len(name) > MAX_NAME or not name.isprintable():
        raise FileError(f"has the unusable name {name[:60]!r}")


def plain(name: str, array: np.ndarray) -> np.ndarray:
    """Returns the array contiguous, in native byte order, with its bfloat16 restored.

    Raises:
        FileError: the name or the dtype is none for weights.
    """
    check_name(name)
    if array.dtype == "V2":
        array = array.view(BFLOAT16)
    native = array.dtype.newbyteorder("=")
    if native not in DTYPES:
        raise FileError(f"has {name!r} in {array.dtype}, which is no dtype for weights")
    return np.asarray(array, dtype=native, order="C")


def opaque(array: np.ndarray) -> np.ndarray:
    """Returns bfloat16 as V2, two bytes without a meaning, for the formats that don't know it."""
    return array.view("V2") if array.dtype == BFLOAT16 else array
