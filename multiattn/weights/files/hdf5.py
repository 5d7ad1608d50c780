"""`.weights.h5` and `.keras`: read without Keras, written through h5py."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from multiattn.weights.files import keras_layout
from multiattn.weights.files.common import (
    MAX_EXPANSION,
    Budget,
    FileError,
    State,
    opaque,
    open_zip,
    unpacked,
)
from multiattn.weights.files.h5_tree import Reader

MARK = "multiattn"  # an attribute of the files whose names and arrays are canonical


def read(path: Path) -> tuple[State, list[str]]:
    """Reads `.weights.h5`, of this package or of Keras layers that name their variables."""
    return _read(path.read_bytes(), None, Budget(path))


def read_keras(path: Path) -> tuple[State, list[str]]:
    """Reads the weights in a `.keras` archive, with what its configuration says of the layers."""
    budget = Budget(path)
    with open_zip(path, budget) as archive:
        text = unpacked(archive, "config.json")
        budget.spend(MAX_EXPANSION * len(text))
        return _read(unpacked(archive, "model.weights.h5"), json.loads(text), budget)


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
    reader = Reader(data, MARK, budget)
    root = reader.root()
    notes: list[str] = []
    if root.marked:
        variables = keras_layout.canonical(root)
    else:
        variables = keras_layout.interpret(root, config, notes)
    state: State = {}
    for name, dataset, is_kernel in variables:
        if name in state:
            raise FileError(f"has two variables that are {name!r}")
        array = reader.array(dataset)
        if is_kernel and array.ndim < 2:
            raise FileError(f"has a kernel, {name!r}, of shape {array.shape}")
        # (*sizes, inputs, outputs) -> (outputs, inputs, *sizes)
        state[name] = np.moveaxis(array, (-1, -2), (0, 1)) if is_kernel else array
    return state, notes
