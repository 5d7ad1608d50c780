"""`.pth` and its kin: what `torch.save` writes; no pickle is executed, and torch comes late."""

import importlib
import io
import pickle
import pickletools
import re
import reprlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from multiattn.weights.files.common import BFLOAT16, Budget, FileError, State, open_zip, unpacked

# Under what checkpoints keep their weights; averaged ones (EMA) only where there are no others.
WEIGHTS = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network"),
    *("net_state_dict", "params", "weights"),
)
AVERAGED = (
    *("state_dict_ema", "ema_state_dict", "model_ema_state_dict", "model_ema", "ema_model"),
    *("net_ema", "params_ema", "ema"),
)
LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
LEGACY_PICKLES = 4  # after this magic number: protocol, machine, content, names of the storages
OPCODE_BYTES = 100  # what the object that an opcode makes takes
MAX_TUPLES = 100_000  # each a step deeper, at worst: hashing deeper ones would exhaust the stack


def read(path: Path) -> tuple[State, list[str]]:
    """Reads the tensors of a state dict, alone or in a checkpoint around it."""
    torch = _torch()
    budget = Budget(path)
    content = _archive(path, budget) if zipfile.is_zipfile(path) else _legacy(path, budget)
    try:
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        culprit = re.search(r"GLOBAL (\S+)|error: (?!Unsupported global)(.+)", str(error))
        reason = culprit[0] if culprit else str(error)
        raise FileError(
            f"holds more than tensors ({reason[:80]}): where you trust it, torch.load it with "
            "weights_only=False, and save the module's state_dict()"
        ) from error
    if not isinstance(loaded, Mapping):
        raise FileError(f"holds a {type(loaded).__name__}, not a dict of tensors")
    return _tensors(torch, loaded, budget)


def write(path: Path, state: State) -> None:
    """Writes a plain dict of tensors."""
    torch = _torch()
    tensors = {}
    for name, array in state.items():
        own = array.copy()  # torch shares memory, and warns where it is read-only
        if own.dtype == BFLOAT16:
            tensors[name] = torch.from_numpy(own.view(np.int16)).view(torch.bfloat16)
        else:
            tensors[name] = torch.from_numpy(own)
    torch.save(tensors, path)


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise FileError('needs PyTorch: pip install "multiattn[torch]"') from error


def _archive(path: Path, budget: Budget) -> io.BytesIO:
    """The archive written anew, so that torch gets no other than the one that was checked."""
    content = io.BytesIO()
    with open_zip(path, budget) as archive, zipfile.ZipFile(content, "w") as copy:
        for name in archive.namelist():
            data = unpacked(archive, name)
            if name.endswith(".pkl"):
                _check_pickle(io.BytesIO(data), budget)
            copy.writestr(name, data)
    content.seek(0)
    return content


def _legacy(path: Path, budget: Budget) -> io.BytesIO:
    content = io.BytesIO(path.read_bytes())
    if content.read(len(LEGACY_START)) != LEGACY_START:
        raise FileError("is nothing that torch.save wrote")
    for _ in range(LEGACY_PICKLES):
        _check_pickle(content, budget)
    content.seek(0)
    return content


def _check_pickle(file: io.BytesIO, budget: Budget) -> None:
    """Refuses what may still exhaust memory or stack though `weights_only` executes nothing."""
    tuples = 0
    for opcode, argument, _ in pickletools.genops(file):
        budget.spend(OPCODE_BYTES)
        tuples += opcode.name.startswith("TUPLE")
        if tuples > MAX_TUPLES or (opcode.name == "GLOBAL" and "bytearray" in str(argument)):
            raise FileError("holds a pickle that no state dict needs")


def _tensors(torch: Any, checkpoint: Mapping[Any, Any], budget: Budget) -> tuple[State, list[str]]:
    keys, entries = _unwrap(torch, checkpoint)
    notes = []
    for key in keys:
        kind = ", averaged weights (no others found)" if key in AVERAGED else ""
        notes.append(f"took {reprlib.repr(key)} of the checkpoint{kind}")
    if averaged := [key for key in AVERAGED if key in checkpoint and key not in keys]:
        notes.append(f"left the averaged weights {reprlib.repr(averaged)}")
    state, others = {}, []
    for name, tensor in entries.items():
        if not isinstance(tensor, torch.Tensor):
            others.append(name)
            continue
        budget.spend(tensor.numel() * tensor.element_size())
        tensor = tensor.detach().resolve_conj().resolve_neg()
        if tensor.dtype == torch.bfloat16:
            state[name] = tensor.view(torch.int16).numpy().view(BFLOAT16)
        else:
            state[name] = tensor.numpy()
    if others:
        notes.append(f"passed over {reprlib.repr(others)}: no tensors")
    return state, notes


def _unwrap(torch: Any, checkpoint: Mapping[Any, Any]) -> tuple[list[str], Mapping[Any, Any]]:
    """Returns the keys on the way to the weights, and the dict that holds them."""
    holding: dict[int, bool] = {}  # by id: a hostile checkpoint holds dicts many times, or itself
    seen = set()

    def holds_tensors(value: object) -> bool:
        if id(value) not in holding:
            holding[id(value)] = isinstance(value, Mapping) and any(
                isinstance(entry, torch.Tensor) for entry in value.values()
            )
        return holding[id(value)]

    def find(entries: Mapping[Any, Any]) -> tuple[list[str], Mapping[Any, Any]] | None:
        seen.add(id(entries))
        plain = holds_tensors(entries)
        others = [
            key
            for key, value in entries.items()
            if not plain and key not in (*WEIGHTS, *AVERAGED) and holds_tensors(value)
        ]
        for key in (*WEIGHTS, *(others if len(others) == 1 else ()), *AVERAGED):
            inner = entries.get(key)
            if isinstance(inner, Mapping) and id(inner) not in seen and (found := find(inner)):
                return [key, *found[0]], found[1]
        return ([], entries) if plain else None

    found = find(checkpoint)
    if found is None and checkpoint:
        raise FileError(f"holds no dict of tensors, but {reprlib.repr(list(checkpoint))}")
    return found or ([], checkpoint)
