"""Vision attention modules, native in PyTorch, Keras 3 and Flax, with weights that port.

Importing this package imports no framework: take modules from ``multiattn.torch``,
``multiattn.keras`` or ``multiattn.flax``.
"""

from multiattn.catalog import info, list_models, list_modules
from multiattn.weights import (
    FileError,
    LoadError,
    Report,
    load_state_dict,
    load_weights,
    port,
    save_weights,
    state_dict,
)

__version__ = "0.1.0"

__all__ = [
    "FileError",
    "LoadError",
    "Report",
    "info",
    "list_models",
    "list_modules",
    "load_state_dict",
    "load_weights",
    "port",
    "save_weights",
    "state_dict",
]
