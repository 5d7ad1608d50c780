"""Canonical state of anything: reading it, loading it, porting it; all or nothing."""

import itertools
import os
import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from multiattn import catalog
from multiattn.catalog import Rule
from multiattn.weights import files, live
from multiattn.weights.adapt import Adapter
from multiattn.weights.layout import Array
from multiattn.weights.rename import Renamed, user_rules
from multiattn.weights.rename import rename as run_rules
from multiattn.weights.walk import Inventory, inventory, is_keras

# Counters and wrappings that other tools leave in names.
COUNTERS = (r"(^|\.)num_batches_tracked$", r"^n_averaged$")
WRAPPINGS = ("module.", "_orig_mod.", "model.")


@dataclass
class Report:
    """What a load did, or would have done: prints as a table.

    Args:
        loaded: canonical names that were filled.
        missing: canonical names that the source lacks.
        unexpected: the source's names that the target lacks.
        wrong_shape: canonical name -> (shape in the source, shape in the target).
        refused: canonical name -> why its values can't be taken.
        kept: canonical names that an adapting load left as they were.
        passed_over: the source's names that are no state of ours.
        renamed: the source's name -> canonical name, where they differ.
        notes: what was undone on the way.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether source and target held exactly the same."""
        return not (self.missing or self.unexpected or self.wrong_shape or self.refused)

    def __str__(self) -> str:
        rows: list[tuple[str, list[str]]] = [
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("wrong shape", [f"{n}: {a}, expected {b}" for n, (a, b) in self.wrong_shape.items()]),
            ("refused", [f"{name}: {why}" for name, why in self.refused.items()]),
            ("renamed", [f"{a} -> {b}" for a, b in self.renamed.items()]),
            ("kept", self.kept),
            ("passed over", self.passed_over),
            ("note", self.notes),
        ]
        lines = [f"{'loaded':<12}{len(self.loaded)} of {len(self.loaded) + len(self.missing)}"]
        for title, entries in rows:
            for index, entry in enumerate(entries[:12]):
                lines.append(f"{'' if index else title:<12}{entry}")
            if len(entries) > 12:
                lines.append(f"{'':<12}... and {len(entries) - 12} more")
        return "\n".join(lines)


class LoadError(ValueError):
    """The state doesn't fit, and the target is as it was; ``report`` says what didn't fit."""

    def __init__(self, report: Report):
        super().__init__(f"the weights do not fit, nothing was loaded\n{report}")
        self.report = report


def state_dict(module: object) -> dict[str, Array]:
    """The canonical state of a module or network of any framework.

    Returns:
        Copies as NumPy arrays in PyTorch's layouts, by name, in natural order of the names.

    Raises:
        TypeError: the object is of no known framework.
        ValueError: a Keras layer that isn't built.
    """
    return {name: slot.read() for name, slot in inventory(module).slots.items()}


def load_state_dict(
    module: object,
    state: Mapping[str, Array],
    *,
    strict: bool = True,
    prefix: str = "",
    rename: Mapping[str, str | None] | None = None,
    adapt: bool = False,
) -> Report:
    """Fills a module or network of any framework from a state; all of it or nothing.

    Names of other origins (the original's, timm's, ...) are recognised by the catalog's tables.

    Args:
        module: the target.
        state: arrays by name, in PyTorch's layouts (or an origin's, where the table says so).
        strict: whether every name must have its counterpart on the other side. A wrong shape or a
            value that the target's dtype can't hold is always an error.
        prefix: only the names that begin so are taken, without it.
        rename: regular expressions with their replacements, run in order on each name; None
            passes the names over that match.
        adapt: whether the state may be of another number of classes, whose classifier then stays
            as it is, or of another image size, whose position embeddings are then resized.

    Raises:
        LoadError: something doesn't fit; the target is as it was.
    """
    found = inventory(module)
    arrays, report = _fit(found, state, strict, prefix, rename, module if adapt else None)
    converted: dict[str, Array] = {}
    for name, array in arrays.items():
        try:
            converted[name] = _cast(array, found.slots[name].dtype)
        except ValueError as error:
            report.refused[name] = str(error)
    if report.refused:
        raise LoadError(report)
    for name, array in converted.items():
        found.slots[name].write(array)
    return report


def fit(
    module: object,
    state: Mapping[str, Array],
    *,
    strict: bool = True,
    prefix: str = "",
    rename: Mapping[str, str | None] | None = None,
) -> tuple[dict[str, Array], Report]:
    """What ``load_state_dict`` would load, with nothing loaded.

    Returns:
        The arrays in their own dtypes under the module's canonical names, and the report.

    Raises:
        LoadError: the state doesn't fit.
    """
    return _fit(inventory(module), state, strict, prefix, rename)


def _fit(
    found: Inventory,
    state: Mapping[str, Array],
    strict: bool,
    prefix: str,
    rename: Mapping[str, str | None] | None,
    adapting: object = None,
) -> tuple[dict[str, Array], Report]:
    report = Report()
    adapter = Adapter(adapting, found.classes.get("", "")) if adapting is not None else None
    names = found.names()
    arrays: dict[str, Array] = {}
    for name, renamed in _resolve(found, state, prefix, user_rules(rename), report).items():
        if renamed.name is None:
            report.passed_over.append(name)
            continue
        target = names.get(renamed.name)
        if target is None:
            classifier = adapter is not None and adapter.is_classifier(renamed.name)
            (report.passed_over if classifier else report.unexpected).append(name)
            continue
        if name != target:
            report.renamed[name] = target
        array = renamed.convert(np.asarray(state[name]))
        shape = found.slots[target].shape
        if adapter is not None and not fits(array.shape, shape):
            array = adapter.resized(target, array, shape)
            if adapter.is_classifier(target):
                continue
        if not fits(array.shape, shape):
            report.wrong_shape[target] = (array.shape, shape)
            continue
        array = array.reshape(shape)
        if target in arrays and not np.array_equal(arrays[target], array, equal_nan=True):
            report.refused[target] = f"{name} gives it another value than a name before it"
        arrays[target] = array
    absent = [name for name in found.slots if name not in arrays | report.wrong_shape]
    report.kept = [name for name in absent if adapter is not None and adapter.is_classifier(name)]
    report.missing = [name for name in absent if name not in report.kept]
    report.loaded = list(arrays)
    if report.wrong_shape or report.refused or (strict and not report.complete):
        raise LoadError(report)
    return arrays, report


def port(
    source: object, target: object, *, rename: Mapping[str, str | None] | None = None
) -> Report:
    """Copies the state of a module or network into another one, of any framework.

    Args:
        source: where the weights come from.
        target: of the same structure; built, if it is of Keras.
        rename: regular expressions with replacements, from the source's names to the target's.

    Raises:
        LoadError: the two don't hold the same; the target is as it was.
    """
    return load_state_dict(target, state_dict(source), rename=rename)


def save_weights(module: object, path: str | os.PathLike[str]) -> None:
    """Saves the state of a module or network; the suffix gives the format.

    Args:
        module: of any framework.
        path: .safetensors, .pth, .pt, .npz, .weights.h5, or .keras for a Keras model.

    Raises:
        files.FileError: an unknown suffix, or a .keras file of something that is no Keras model.
    """
    path = Path(path)
    if is_keras(module) and path.name.endswith((".weights.h5", ".keras")):
        live.save(module, path)
    else:
        files.write(path, state_dict(module))


def load_weights(
    module: object,
    path: str | os.PathLike[str],
    *,
    strict: bool = True,
    prefix: str = "",
    rename: Mapping[str, str | None] | None = None,
    adapt: bool = False,
) -> Report:
    """Fills a module or network of any framework from a file; all of it or nothing.

    Args:
        module: the target.
        path: .safetensors, .pth, .pt, .npz, .weights.h5 or .keras. No code in a file is ever run.
        strict: see ``load_state_dict``.
        prefix: see ``load_state_dict``.
        rename: see ``load_state_dict``.
        adapt: see ``load_state_dict``.

    Raises:
        files.FileError: the file can't be read.
        LoadError: the file doesn't fit; the target is as it was.
    """
    path = Path(path)
    try:
        state, notes = files.read(path)
        options = {"strict": strict, "adapt": adapt}
        report = load_state_dict(module, state, prefix=prefix, rename=rename, **options)
    except (files.NeedsModelError, LoadError) as error:
        # Keras's own files go by the order of layers, whose names may have changed
        keras_file = path.name.endswith((".h5", ".keras")) and is_keras(module)
        if not keras_file or (isinstance(error, LoadError) and (prefix or rename or adapt)):
            raise
        return _load_live(module, path)
    report.notes[:0] = notes
    return report


def _load_live(module: object, path: Path) -> Report:
    """Lets Keras load its own file, whose layers only the live model can tell apart."""
    slots = inventory(module).slots
    before = {name: slot.read() for name, slot in slots.items()}
    try:
        live.load(module, path)
    except Exception:
        for name, slot in slots.items():
            slot.write(before[name])
        raise
    return Report(loaded=list(slots))


def _resolve(
    found: Inventory,
    source: Iterable[str],
    prefix: str,
    user: Iterable[Rule],
    report: Report,
) -> dict[str, Renamed]:
    """Each name of the source, with what it is called here."""
    known = found.names()
    own = {name: name.removeprefix(prefix) for name in source if name.startswith(prefix)}
    for wrapping in WRAPPINGS:
        wrapped = [name for name in own.values() if not re.search(COUNTERS[1], name)]
        if (
            wrapped
            and all(name.startswith(wrapping) for name in wrapped)
            and not any(name.startswith(wrapping) for name in known)
        ):
            report.notes.append(f"names without their wrapping {wrapping!r}")
            own = {name: inner.removeprefix(wrapping) for name, inner in own.items()}
    renamed = {name: run_rules(user, inner) for name, inner in own.items()}
    present = {result.name for result in renamed.values() if result.name is not None}
    foreign = {name for name in present if name not in known}
    tables = _best_tables(found, foreign, known)
    while True:
        moved = {
            name: _through(tables, result, known)
            for name, result in renamed.items()
            if result.name in foreign
        }
        # a name of ours that another one has come to is itself the origin's
        taken = (
            present.intersection(result.name for result in moved.values() if result.name) - foreign
        )
        if not taken:
            return renamed | moved
        foreign |= taken


# A rename table with the path of the module whose names it is for.
Table = tuple[str, Sequence[Rule]]


def _best_tables(found: Inventory, names: Collection[str], known: Container[str]) -> list[Table]:
    """The catalog's tables that recognise most of the names; one origin for all of a class.

    A module's constants are passed over whichever origin it is.
    """
    listed = catalog.entries()
    paths: dict[str, list[str]] = {}
    for path, cls in found.classes.items():
        if cls in listed:
            paths.setdefault(cls, []).append(path)

    def tables(origins: Iterable[Sequence[Rule]]) -> list[Table]:
        pairs = zip(paths, origins, strict=True)
        rows = [(path, rules) for cls, rules in pairs for path in paths[cls]]
        return sorted(rows, key=lambda row: len(row[0]))

    def unknown(candidate: list[Table]) -> int:
        through = (_through(candidate, Renamed(name), known).name for name in names)
        return sum(name is not None and name not in known for name in through)

    if not names:
        return []
    constants = {cls: tuple(Rule(match) for match in listed[cls].pass_over) for cls in paths}
    choices = [
        [constants[cls], *(constants[cls] + rules for rules in listed[cls].origins.values())]
        for cls in paths
    ]
    return min(map(tables, itertools.product(*choices)), key=unknown)


def _through(tables: Iterable[Table], start: Renamed, known: Container[str]) -> Renamed:
    """The name after the tables, from the outermost module inwards, until it is known here."""
    name, steps = start.name, start.steps
    if name is not None and any(re.search(counter, name) for counter in COUNTERS):
        return Renamed(None)
    for path, rules in tables:
        inside = f"{path}." if path else ""
        if name is None or (name != start.name and name in known):
            break
        if name.startswith(inside):
            inner = run_rules(rules, name.removeprefix(inside))
            name = None if inner.name is None else inside + inner.name
            steps += inner.steps
    return Renamed(name, steps)


def fits(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether one shape fills the other.

    Unit axes behind the second come and go, and (1, C, 1, 1) is as good as (C).
    """

    def significant(shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = shape[:2] + tuple(size for size in shape[2:] if size != 1)
        is_row = 1 in (len(source), len(target)) and len(shape) == 2 and shape[0] == 1
        return shape[1:] if is_row else shape

    return significant(source) == significant(target)


def _cast(array: Array, dtype: np.dtype) -> Array:
    """The array in the target's dtype; an error if a value can't be held."""
    floating = np.issubdtype(array.dtype, np.floating) or array.dtype.kind == "V"
    if not (floating or np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"its dtype is {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        if np.any(np.isfinite(array) & ~np.isfinite(cast)):
            raise ValueError(f"it has values too large for {dtype}")
    return cast
