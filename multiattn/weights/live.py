"""Keras's own files, read and written by Keras through a live model."""

import os
import sys
import tempfile
from pathlib import Path

from multiattn.weights import files


def save(module: object, path: Path) -> None:
    """Writes a .weights.h5 or .keras file of a layer or model, as Keras does; all or nothing."""
    keras = sys.modules["keras"]
    keras_save = keras.saving.save_model if path.suffix == ".keras" else keras.saving.save_weights
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".multiattn-") as folder:
        partial = Path(folder) / path.name
        keras_save(module, partial)
        os.replace(partial, path)


def load(module: object, path: Path) -> None:
    """Fills a layer or model from a file that only it can tell the layers of."""
    keras = sys.modules["keras"]
    try:
        keras.saving.load_weights(module, path)
    except Exception as error:
        raise files.FileError(f"{path}: Keras can't load it into this model: {error}") from error
