"""`.weights.h5` and `.keras`, through h5py: Keras is not needed."""

import io
import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from multiattn.weights.files import keras_layout
from multiattn.weights.files.common import (
    MAX_EXPANSION,
    MAX_NAME,
    Budget,
    FileError,
    State,
    opaque,
    open_zip,
    unpacked,
)
from multiattn.weights.files.keras_layout import Group, Variable

MARK = "multiattn"  # an attribute of the files whose names and arrays are canonical
SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What an object's header may hold, by the numbers of HDF5's specification: dataspace, datatype,
# fill values, layout, attribute, continuation, symbol table and time. So no filters, no other
# files, and none of the newer ways to store a group, where broken files crash the HDF5 library.
PLAIN_MESSAGES = sum(1 << number for number in (0, 1, 3, 4, 5, 8, 12, 16, 17, 18))
CONTINUATION, ATTRIBUTE = 16, 12
# How the attribute "name" begins that Keras gives a group, before its value: a text in UTF-8.
NAME_ATTRIBUTE = bytes.fromhex(
    "0100 0500 1400 0800 6e616d65 00000000"  # version, lengths of what follows, the name
    "19010100 10000000 10000000 01000000 00000800 00000000"  # type
    "01000000 00000000"  # shape
)
MAX_HEAP = 65536  # bytes
OBJECT_BYTES = 4096  # what an open group or dataset takes


def read(path: Path) -> tuple[State, list[str]]:
    """Reads `.weights.h5`, of this package or of Keras layers that name their variables."""
    return _read(path.read_bytes(), None, Budget(path))


def read_keras(path: Path) -> tuple[State, list[str]]:
    """Reads the weights in a `.keras` archive, with what its configuration says of the layers."""
    budget = Budget(path)
    with open_zip(path, budget) as archive:
        text = unpacked(archive, "config.json")
        budget.spend(MAX_EXPANSION * len(text))
        config = json.loads(text)
        return _read(unpacked(archive, "model.weights.h5"), config, budget)


def write(path: Path, state: State) -> None:
    """Writes the canonical state, laid out as Keras does and marked as canonical."""
    with h5py.File(path, "w") as file:
        file.attrs[MARK] = "1"
        for name, array in state.items():
            if "/" in name:
                raise FileError(f"can't hold the name {name!r}")
            *layer, variable = name.split(".")
            group = file.require_group("/".join([*layer, "vars"]))
            dataset = group.create_dataset(variable, data=opaque(array))
            if array.dtype == "bfloat16":
                dataset.attrs["dtype"] = "bfloat16"  # as Keras says it


def refuse(path: Path, state: State) -> None:
    """Refuses: a `.keras` file holds a model, not only its weights."""
    raise FileError("is to hold a whole Keras model: use its own save(), or write a .weights.h5")


def _read(data: bytes, config: Any, budget: Budget) -> tuple[State, list[str]]:
    if not data.startswith(SIGNATURE):
        raise FileError("is no HDF5 file")
    with h5py.File(io.BytesIO(data), "r") as file:
        tree = _tree(file, data, budget)
        if MARK in file.attrs:
            return _state(keras_layout.canonical(tree), budget), []
        variables, notes = keras_layout.interpret(tree, config)
        return _state(variables, budget), notes


def _tree(file: h5py.File, data: bytes, budget: Budget) -> Group:
    """Opens every group and dataset, each of which only one plain link may reach."""
    seen = set()

    def address(node: h5py.h5g.GroupID, name: str) -> int:
        found = h5py.h5o.get_info(node, name.encode())
        messages = found.hdr.mesg
        if found.hdr.version != 1 or messages.present & ~PLAIN_MESSAGES or messages.shared:
            raise FileError(f"has {name!r} stored in a way that Keras never uses")
        if found.addr in seen:
            raise FileError(f"has {name!r} in two places")
        seen.add(found.addr)
        budget.spend(OBJECT_BYTES)
        return int(found.addr)

    def opened(node: h5py.Group, header: int) -> Group:
        tree = Group(_label(data, header))
        for name in node:
            if not isinstance(node.get(name, getlink=True), h5py.HardLink):
                raise FileError(f"has a link to elsewhere at {node.name}/{name}")
            header = address(node.id, name)
            member = node[name]
            if isinstance(member, h5py.Group):
                tree.groups[name] = opened(member, header)
            else:
                tree.datasets[name] = member
        return tree

    return opened(file, address(file.id, "."))


def _label(data: bytes, address: int) -> str | None:
    """The layer's name that Keras gives a group: an attribute in the object header at `address`.

    Read by hand, since a broken text costs the HDF5 library unbounded time and memory.
    """
    count, size = struct.unpack_from("<2xH4xI", data, address)
    blocks = [(address + 16, size)]
    for at, size in blocks:
        end = at + size
        while count and at + 8 <= end:
            count -= 1
            kind, length = struct.unpack_from("<HH", data, at)
            body = data[at + 8 : at + 8 + length]
            at += 8 + length
            if kind == CONTINUATION:
                blocks.append(struct.unpack_from("<QQ", body))
            elif kind == ATTRIBUTE and b"name\0" in body[:16]:
                if not body.startswith(NAME_ATTRIBUTE):
                    raise FileError("has the name of a group stored in a way that Keras never uses")
                return _text(data, *struct.unpack_from("<IQI", body, len(NAME_ATTRIBUTE)))
    return None


def _text(data: bytes, length: int, heap: int, number: int) -> str:
    """The text of that number in the global heap at the address `heap`."""
    (size,) = struct.unpack_from("<8xQ", data, heap)
    at, end = heap + 16, heap + min(size, MAX_HEAP)
    while at + 16 <= end:
        found, size = struct.unpack_from("<H6xQ", data, at)
        if found == number and length <= min(size, MAX_NAME):
            return data[at + 16 : at + 16 + length].decode()
        at += 16 + -(-size // 8) * 8
    raise FileError("has a group whose name is missing")


def _state(variables: Iterable[Variable], budget: Budget) -> State:
    state: State = {}
    for name, dataset, is_kernel in variables:
        if name in state:
            raise FileError(f"has two variables that are {name!r}")
        array = _array(dataset, budget)
        # (*sizes, inputs, outputs) -> (outputs, inputs, *sizes)
        state[name] = np.moveaxis(array, (-1, -2), (0, 1)) if is_kernel else array
    return state


def _array(dataset: h5py.Dataset, budget: Budget) -> np.ndarray:
    """Reads a dataset that lies in the file in one piece, as Keras writes all."""
    layout = dataset.id.get_create_plist().get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise FileError(f"has {dataset.name} in pieces")
    if dataset.shape is None or dataset.dtype.hasobject:
        raise FileError(f"has no numbers in {dataset.name}")
    size = dataset.id.get_storage_size()
    if math.prod(dataset.shape) * dataset.dtype.itemsize != size:
        raise FileError(f"has {size} bytes for {dataset.shape} in {dataset.name}")
    budget.spend(size)
    return np.asarray(dataset[()])
