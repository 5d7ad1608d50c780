"""What the variables in a Keras file are called canonically.

Keras writes a group per layer, named by the attribute that holds it, and in that a group `vars`
with the layer's variables: by name where the layer says so (this package's layers do), else by
number. Members of functional and sequential models are groups under `layers`, named by their class,
with the layer's own name as an attribute of its `vars`. A group without `vars` is a list.

The `.h5` files of older Kerases have a group per layer, and in that, under the layer's name again,
its variables by name.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from multiattn.weights.files.common import NeedsModelError
from multiattn.weights.files.h5_tree import Dataset, Group

STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}
NAMES = {"kernel": "weight", "embeddings": "weight", **STATISTICS}
NORM_NAMES = {"gamma": "weight", "beta": "bias", **STATISTICS}

# What the variables of stock layers in a model are, which their files only number.
KERNEL = ("kernel", "bias")
NUMBERED = {
    "conv1d": KERNEL,
    "conv2d": KERNEL,
    "conv3d": KERNEL,
    "dense": KERNEL,
    "embedding": ("embeddings",),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_normalization": ("gamma", "beta"),
    "group_normalization": ("gamma", "beta"),
    "layer_scale": ("gamma",),  # of keras.applications
}

UNNAMED = (
    "has {:.80}, which is no named variable of a Keras layer: such a file can't be read without "
    "its model. Load it into the live Keras model and save that with multiattn.save_weights"
)
UNORDERED = "what is under {!r} goes by {} names: the file says neither its order nor attributes"


class Variable(NamedTuple):
    """A variable's canonical name, where it lies, and whether its axes are a Keras kernel's."""

    name: str
    dataset: Dataset
    is_kernel: bool


def canonical(group: Group, path: tuple[str, ...] = ()) -> Iterator[Variable]:
    """Yields the variables of a file that this package wrote."""
    for name, dataset in group.datasets.items():
        yield Variable(".".join([*path[:-1], name]), dataset, is_kernel=False)
    for name, inner in group.groups.items():
        yield from canonical(inner, (*path, name))


def interpret(root: Group, config: Any, notes: list[str]) -> Iterator[Variable]:
    """Yields the variables of a file that Keras wrote.

    Args:
        root: the file.
        config: the model's configuration, where there is one.
        notes: a note is added on what the file doesn't say.
    """
    root.groups.pop("optimizer", None)
    older = root.groups.get("model_weights")
    if older is None and root.groups and not _has_vars(root):
        older = root
    return _layer(root, (), config, notes) if older is None else _older(older)


def _has_vars(group: Group) -> bool:
    return "vars" in group.groups or any(map(_has_vars, group.groups.values()))


def _older(root: Group) -> Iterator[Variable]:
    for layer in (root, *root.groups.values()):
        for dataset in layer.datasets.values():
            raise NeedsModelError(UNNAMED.format(dataset.path))
        for name, inner in layer.groups.items() if layer is not root else ():
            yield from _named(inner, (name,))


def _named(group: Group, path: tuple[str, ...]) -> Iterator[Variable]:
    datasets = {name.removesuffix(":0"): one for name, one in group.datasets.items()}
    yield from _variables(Group(datasets=datasets), path, leaf=True)
    for name, inner in group.groups.items():
        yield from _named(inner, (*path, name))


def _layer(
    group: Group, path: tuple[str, ...], config: Any, notes: list[str], kind: str = ""
) -> Iterator[Variable]:
    for dataset in group.datasets.values():
        raise NeedsModelError(UNNAMED.format(dataset.path))
    inner = dict(group.groups)
    own = inner.pop("vars", Group())
    inner.pop("seed_generator", None)
    yield from _variables(_numbered(own, kind), path, leaf=not inner)
    for name, member in inner.items():
        if name == "layers" and "vars" not in member.groups:
            yield from _model(member, path, config, notes)
            continue
        if "vars" not in member.groups:
            notes.append(UNORDERED.format("/".join([*path, name]), "its classes'"))
        yield from _layer(member, (*path, name), None, notes)


def _numbered(group: Group, kind: str) -> Group:
    """The variables of a stock layer by name, if this is one and the file numbers them."""
    names, numbers = NUMBERED.get(kind, ()), [str(index) for index in range(len(group.datasets))]
    complete = len(numbers) == len(names) or (names == KERNEL and len(numbers) == 1)
    if not complete or group.datasets.keys() != set(numbers):
        return group
    pairs = zip(numbers, names, strict=False)
    return Group(datasets={name: group.datasets[number] for number, name in pairs})


def _variables(group: Group, path: tuple[str, ...], leaf: bool) -> Iterator[Variable]:
    # A gamma or a beta may be something else than a normalisation's, such as a layer scale: it is
    # one where the two come together or with statistics, and with nothing else.
    own = group.datasets.keys()
    pair_or_statistics = {"gamma", "beta"} <= own or STATISTICS.keys() & own
    is_norm = leaf and own <= NORM_NAMES.keys() and pair_or_statistics
    names = NORM_NAMES if is_norm else NAMES
    for name, dataset in group.datasets.items():
        if name.isdigit():
            raise NeedsModelError(UNNAMED.format(dataset.path))
        if name != "seed_generator_state":
            yield Variable(".".join([*path, names.get(name, name)]), dataset, name == "kernel")


def _model(
    group: Group, path: tuple[str, ...], config: Any, notes: list[str]
) -> Iterator[Variable]:
    """The members of a functional model go by name, those of a sequential one by position."""
    known = _members(config)
    if not known and not any(name.startswith("input_layer") for name in group.groups):
        notes.append(UNORDERED.format("/".join([*path, "layers"]), "its layers'"))
    for group_name, member in group.groups.items():
        name = member.groups.get("vars", member).label or group_name
        canonical_name, inner_config = known.get(name, (name, None))
        kind = re.sub(r"_\d+$", "", group_name)
        yield from _layer(member, (*path, canonical_name), inner_config, notes, kind)


def _members(config: Any) -> dict[str, tuple[str, Any]]:
    """The canonical names and the configurations of a model's layers, by their own names."""
    if config is None or config["class_name"] not in ("Functional", "Sequential"):
        return {}
    layers = [one for one in config["config"]["layers"] if one["class_name"] != "InputLayer"]
    names = [layer["config"]["name"] for layer in layers]
    numbers = map(str, range(len(layers)))
    canonical_names = numbers if config["class_name"] == "Sequential" else names
    return dict(zip(names, zip(canonical_names, layers, strict=True), strict=True))
