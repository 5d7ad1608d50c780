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
from multiattn.weights.files.common import Budget, FileError, State, opaque, open_zip, unpacked
from multiattn.weights.files.keras_layout import Group, Variable

MARK = "multiattn"  # an attribute of the files whose names and arrays are canonical
HEAP = b"GCOL\x01"  # begins a heap in HDF5
# What an object's header may hold, by the numbers of HDF5's specification: dataspace, datatype,
# fill values, layout, attribute, continuation, symbol table and time. So no filters, no other
# files, and none of the newer ways to store a group, where broken files crash the HDF5 library.
PLAIN_MESSAGES = sum(1 << number for number in (0, 1, 3, 4, 5, 8, 12, 16, 17, 18))


def read(path: Path) -> tuple[State, list[str]]:
    """Reads `.weights.h5`, of this package or of Keras layers that name their variables."""
    return _read(path.read_bytes(), None, Budget(path))


def read_keras(path: Path) -> tuple[State, list[str]]:
    """Reads the weights in a `.keras` archive, with what its configuration says of the layers."""
    budget = Budget(path)
    with open_zip(path, budget) as archive:
        config = json.loads(unpacked(archive, "config.json"))
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
    _check_heaps(data)
    with h5py.File(io.BytesIO(data), "r") as file:
        tree = _tree(file)
        if MARK in file.attrs:
            return _state(keras_layout.canonical(tree), budget), []
        variables, notes = keras_layout.interpret(tree, config)
        return _state(variables, budget), notes


def _check_heaps(data: bytes) -> None:
    """Refuses broken heaps of texts (the layers' names): the HDF5 library may never leave one."""
    end = 0
    start = data.find(HEAP)
    while start >= 0:
        broken = start < end
        at, end = start + 16, start + int.from_bytes(data[start + 8 : start + 16], "little")
        while at + 16 <= end and not broken:
            number, length = struct.unpack_from("<H6xQ", data, at)
            size = 16 + -(-length // 8) * 8 if number else length  # number 0: the rest
            at += size
            broken = size < 16 or at > end
        if broken:
            raise FileError("has a broken heap")
        start = data.find(HEAP, start + 1)


def _tree(file: h5py.File) -> Group:
    """Opens every group and dataset, each of which only one plain link may reach."""
    seen = set()

    def opened(node: h5py.Group) -> Group:
        tree = Group(node.attrs.get("name"))
        for name in node:
            if not isinstance(node.get(name, getlink=True), h5py.HardLink):
                raise FileError(f"has a link to elsewhere at {node.name}/{name}")
            check(node.id, name)
            member = node[name]
            if isinstance(member, h5py.Group):
                tree.groups[name] = opened(member)
            else:
                tree.datasets[name] = member
        return tree

    def check(node: h5py.h5g.GroupID, name: str) -> None:
        found = h5py.h5o.get_info(node, name.encode())
        messages = found.hdr.mesg
        if messages.present & ~PLAIN_MESSAGES or messages.shared:
            raise FileError(f"has {name!r} stored in a way that Keras never uses")
        if found.addr in seen:
            raise FileError(f"has {name!r} in two places")
        seen.add(found.addr)

    check(file.id, ".")
    return opened(file)


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
