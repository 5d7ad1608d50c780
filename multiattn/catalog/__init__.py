"""What exists: one entry per module, a TOML file per kind. Imports no framework."""

import difflib
import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Rule:
    """One row of a rename table: from a name at an origin to ours.

    Args:
        match: regular expression, searched in the running name.
        to: replacement for the match, with groups as in ``re.sub``; None passes the name over.
        offset: added to the groups, which are numbers then: an origin that counts from one.
        axes: axis order of the tensor at its origin, ``h w i o -> o i h w``.
        take: (axis, indices): the tensor's entries along an axis, in our order.
    """

    match: str
    to: str | None = None
    offset: int = 0
    axes: str | None = None
    take: tuple[int, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class Model:
    """A published network.

    Args:
        options: the class's, where they differ from its defaults.
        parameters: how many, with 1000 classes.
        input_size: height and width of the images it was trained on.
        mean: of each colour, which was taken from images in [0, 1].
        std: of each colour, by which they were divided then.
    """

    options: Mapping[str, Any]
    parameters: int
    input_size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Entry:
    """What the catalog says of a module.

    Args:
        name: the class's name, in every framework.
        kind: the folder it lies in.
        title: the paper's title.
        venue: where it was published.
        summary: what the module computes, in a line.
        source: the originals its conformance cases were measured on.
        licence: the originals' licence.
        arxiv: the paper's number there, or None.
        aliases: other names people know the module by.
        parts: public classes that the module is made of.
        inputs: axes of each input, in PyTorch's order.
        outputs: axes of each output.
        input_widths: the options that only state the width of an input; Keras has none of them.
        input_sizes: the options that bind the module to one size of its inputs.
        sizes: of each input, what its size may be: "any", a number of which it is a multiple,
            "square", "fixed" where the options or another input say it, or "shared" by the whole
            batch; by default "any".
        pass_over: patterns of names in files that are constants of ours.
        origins: rename tables by origin.
        models: published networks of this class by name.
        classifier: patterns of the names that are bound to the number of classes.
        positions: patterns of the names of position embeddings, bound to the size of the images.
        tables: patterns of the names of tables of relative positions, bound to the windows; their
            group is the index of a layer.
    """

    name: str
    kind: str
    title: str
    venue: str
    summary: str
    source: str
    licence: str
    arxiv: str | None = None
    aliases: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("NCHW",)
    outputs: tuple[str, ...] = ("NCHW",)
    input_widths: tuple[str, ...] = ("channels", "in_channels")
    input_sizes: tuple[str, ...] = ("input_size", "img_size", "feat_size", "feature_size", "size")
    sizes: tuple[str | int, ...] = ()
    pass_over: tuple[str, ...] = ()
    origins: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    classifier: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


def _rule(row: Mapping[str, Any]) -> Rule:
    take = row.get("take")
    return Rule(**{**row, "take": (take["axis"], tuple(take["indices"])) if take else None})


def _model(row: Mapping[str, Any]) -> Model:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return Model(**values)


def _entry(name: str, kind: str, table: Mapping[str, Any]) -> Entry:
    known = {f.name for f in fields(Entry)}
    if unknown := table.keys() - known:
        raise ValueError(f"catalog entry {name}: unknown fields {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in table.items()
    }
    values["origins"] = {
        origin: tuple(_rule(row) for row in rows)
        for origin, rows in table.get("origins", {}).items()
    }
    values["models"] = {model: _model(row) for model, row in table.get("models", {}).items()}
    return Entry(name=name, kind=kind, **values)


@cache
def entries() -> Mapping[str, Entry]:
    """Every entry by name, sorted."""
    found = {}
    for file in resources.files(__name__).iterdir():
        if file.name.endswith(".toml"):
            kind = file.name.removesuffix(".toml")
            for name, table in tomllib.loads(file.read_text("utf-8")).items():
                found[name] = _entry(name, kind, table)
    return dict(sorted(found.items()))


def info(name: str) -> Entry:
    """The entry of a module, by its name or an alias, or by a published network's; in any case.

    Raises:
        ValueError: no such module; the message has the names that come near.
    """
    return find(name)[0]


def find(name: str) -> tuple[Entry, Mapping[str, Any]]:
    """The entry of a name, as in ``info``, and the options that a published network has.

    Raises:
        ValueError: see ``info``.
    """
    listed = entries().values()
    names: dict[str, tuple[Entry, Mapping[str, Any]]] = {}
    for entry in listed:
        names |= {one.lower(): (entry, {}) for one in entry.aliases}
    for entry in listed:
        names |= {model.lower(): (entry, m.options) for model, m in entry.models.items()}
        names[entry.name.lower()] = entry, {}
    key = name.lower()
    shared = [entry.name for entry in listed if key in map(str.lower, entry.aliases)]
    if len(shared) > 1 and names[key][0].name.lower() != key:
        raise ValueError(f"{name!r} may be {' or '.join(shared)}")
    if key in names:
        return names[key]
    near = dict.fromkeys(
        one if names[one][1] else names[one][0].name
        for one in difflib.get_close_matches(key, names)
    )
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"there is no module {name!r}{hint}")


def list_modules(pattern: str = "*", *, kind: str | None = None) -> list[str]:
    """The names of the modules.

    Args:
        pattern: a shell pattern, or a part of the name or of an alias; case doesn't matter.
        kind: only this kind.
    """
    glob = _glob(pattern)
    return [
        entry.name
        for entry in entries().values()
        if kind in (None, entry.kind)
        and any(fnmatch.fnmatchcase(one.lower(), glob) for one in (entry.name, *entry.aliases))
    ]


def list_models(pattern: str = "*", *, cls: str | None = None) -> list[str]:
    """The names of the published networks.

    Args:
        pattern: a shell pattern, or a part of the name; case doesn't matter.
        cls: only those of this class.
    """
    glob = _glob(pattern)
    return [
        model
        for entry in entries().values()
        if cls in (None, entry.name)
        for model in entry.models
        if fnmatch.fnmatchcase(model.lower(), glob)
    ]


def _glob(pattern: str) -> str:
    return pattern.lower() if any(c in pattern for c in "*?[") else f"*{pattern.lower()}*"
