"""`.safetensors`: the package checks header, shapes and offsets; no framework is imported."""

import json
import struct
from pathlib import Path
from typing import Any

import safetensors.numpy

from multiattn.weights.files.common import FileError, State


def read(path: Path) -> tuple[State, list[str]]:
    """Reads every tensor."""
    state = safetensors.numpy.load_file(path)
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        json.loads(file.read(length), object_pairs_hook=_once_each)
    return state, []


def write(path: Path, state: State) -> None:
    """Writes the tensors; equal states give equal bytes."""
    path.write_bytes(safetensors.numpy.save(dict(sorted(state.items()))))


def _once_each(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise FileError("has a key twice in its header")
