"""Files of weights: a state (names to arrays) is read and written by the file's suffix.

No framework is imported but torch, for its own format and only then. Whatever is wrong with a file
is one error, `FileError`; no pickle is executed, and memory stays in proportion to the file.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from multiattn.weights.files import hdf5, npz, safetensor, torch_file
from multiattn.weights.files.common import FileError, NeedsModelError, State, plain

__all__ = ["SUFFIXES", "FileError", "NeedsModelError", "read", "write"]

Reader = Callable[[Path], tuple[State, list[str]]]
Writer = Callable[[Path, State], None]

FORMATS: dict[str, tuple[Reader, Writer]] = {
    ".safetensors": (safetensor.read, safetensor.write),
    ".npz": (npz.read, npz.write),
    ".h5": (hdf5.read, hdf5.write),
    ".keras": (hdf5.read_keras, hdf5.refuse),
    **dict.fromkeys(
        (".pth", ".pt", ".ckpt", ".bin", ".pth.tar"), (torch_file.read, torch_file.write)
    ),
}
SUFFIXES = tuple(FORMATS)
MAX_ERROR = 400


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads the weights in a file.

    Args:
        path: the file; its suffix says the format.

    Returns:
        The arrays by name (Keras's layers under canonical names and in canonical layouts, others
        as the file has them), and notes on what was unwrapped or passed over.

    Raises:
        NeedsModelError: only a live Keras model can tell the file's variables apart.
        FileError: there is no such file, or it is broken, hostile or of an unknown format.
    """
    path = Path(path)
    with _one_error(path, "read"):
        reader, _ = _format(path)
        if not path.is_file():
            raise FileError("is no file")
        state, notes = reader(path)
        return {name: plain(name, array) for name, array in state.items()}, notes


def write(path: str | os.PathLike[str], state: dict[str, np.ndarray]) -> None:
    """Writes weights to a file, which appears whole or not at all.

    Args:
        path: the file, in a folder that exists; its suffix says the format.
        state: the arrays by canonical name.

    Raises:
        FileError: the format is unknown, can't hold this state, or the file can't be written.
    """
    path = Path(path)
    with _one_error(path, "written"):
        _, writer = _format(path)
        state = {name: plain(name, array) for name, array in state.items()}
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".multiattn-") as folder:
            unfinished = Path(folder, path.name)
            writer(unfinished, state)
            os.replace(unfinished, path)


def _format(path: Path) -> tuple[Reader, Writer]:
    for suffix, functions in FORMATS.items():
        if path.name.lower().endswith(suffix):
            return functions
    raise FileError(f"has none of the known suffixes {', '.join(SUFFIXES)}")


@contextmanager
def _one_error(path: Path, done: str) -> Iterator[None]:
    """Turns whatever goes wrong into a `FileError` that names the file."""
    try:
        yield
    except Exception as error:
        kind, told = type(error), str(error)
        if not isinstance(error, FileError):
            kind, told = FileError, f"can't be {done} ({kind.__name__}: {told})"
        line = "".join(letter if letter.isprintable() else " " for letter in told[:MAX_ERROR])
        raise kind(f"{path} {line}") from error
