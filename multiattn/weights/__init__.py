"""Canonical state: what a module holds, under the same names in every framework."""

from multiattn.weights.files import FileError
from multiattn.weights.state import (
    LoadError,
    Report,
    fit,
    load_state_dict,
    load_weights,
    port,
    save_weights,
    state_dict,
)

__all__ = [
    "FileError",
    "LoadError",
    "Report",
    "fit",
    "load_state_dict",
    "load_weights",
    "port",
    "save_weights",
    "state_dict",
]
