"""How the referee and its players talk: length-prefixed safetensors with a JSON message inside.

conformance/README.md describes it for those who write a player for another framework.
"""

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

Arrays = Mapping[str, NDArray[Any]]


def send(stream: IO[bytes], message: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """Writes one message with its arrays."""
    contiguous = {name: np.array(array, order="C") for name, array in (arrays or {}).items()}
    blob = save(contiguous, metadata={"message": json.dumps(message)})
    stream.write(len(blob).to_bytes(8, "little") + blob)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Reads one message; None at the end of the stream."""
    length = stream.read(8)
    if len(length) < 8:
        return None
    blob = stream.read(int.from_bytes(length, "little"))
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    return json.loads(header["__metadata__"]["message"]), load(blob)


def numbered(prefix: str, arrays: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A list of arrays under the names prefix.0, prefix.1, ..."""
    return {f"{prefix}.{index}": array for index, array in enumerate(arrays)}


def named(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """A dictionary of arrays under the names prefix/name."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def pick_list(prefix: str, arrays: Arrays) -> list[NDArray[Any]]:
    """The arrays that ``numbered`` has put under this prefix."""
    found: list[NDArray[Any]] = []
    while (name := f"{prefix}.{len(found)}") in arrays:
        found.append(arrays[name])
    return found


def pick(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays that ``named`` has put under this prefix."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }
