"""Walks the objects of any framework and finds their state, by canonical name.

A framework is used only where an object of it has been handed in, so it has been imported already.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from multiattn.weights.layout import Array, AxisOrder, leaf, rank


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Sorting key that orders digits as numbers."""
    return [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in re.split(r"(\d+)", text)
        if part
    ]


class Slot:
    """A variable of a framework, seen as a NumPy array in canonical axes.

    Args:
        variable: the framework's variable.
        axes: axis order from the variable's own axes to the canonical ones, or None.

    Attributes:
        aliases: other names of the same variable.
    """

    def __init__(self, variable: Any, axes: AxisOrder | None = None):
        self.variable = variable
        self.axes = axes
        self.aliases: list[str] = []

    @property
    def own_shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The canonical shape."""
        return self.axes.canonical_shape(self.own_shape) if self.axes else self.own_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        name = str(self.variable.dtype).removeprefix("torch.")
        return np.dtype(getattr(ml_dtypes, name) if hasattr(ml_dtypes, name) else name)

    def read(self) -> Array:
        """The value, in canonical axes."""
        return self.canonical(self.to_numpy().astype(self.dtype, copy=False))

    def canonical(self, array: Array) -> Array:
        """An array of the variable's own axes, in canonical ones."""
        return np.array(self.axes.to_canonical(array) if self.axes else array, order="C")

    def write(self, array: Array) -> None:
        """Sets the value from an array of the canonical shape and of the variable's dtype."""
        if self.axes:
            array = self.axes.from_canonical(array, self.own_shape)
        self.from_numpy(np.ascontiguousarray(array).reshape(self.own_shape))

    def to_numpy(self) -> Array:
        raise NotImplementedError

    def from_numpy(self, array: Array) -> None:
        raise NotImplementedError


class TorchSlot(Slot):
    def to_numpy(self) -> Array:
        torch = sys.modules["torch"]
        tensor = self.variable.detach().cpu().contiguous()
        if tensor.dtype == torch.bfloat16:
            return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return np.asarray(tensor.numpy())

    def from_numpy(self, array: Array) -> None:
        torch = sys.modules["torch"]
        if array.dtype == ml_dtypes.bfloat16:
            tensor = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        else:
            tensor = torch.from_numpy(array)
        with torch.no_grad():
            self.variable.copy_(tensor)


class KerasSlot(Slot):
    def to_numpy(self) -> Array:
        return np.asarray(sys.modules["keras"].ops.convert_to_numpy(self.variable.value))

    def from_numpy(self, array: Array) -> None:
        self.variable.assign(array)


class FlaxSlot(Slot):
    def to_numpy(self) -> Array:
        return np.asarray(self.variable.get_value())

    def from_numpy(self, array: Array) -> None:
        jax = sys.modules["jax"]
        sharding = getattr(self.variable.get_value(), "sharding", None)
        self.variable.set_value(jax.device_put(array, sharding))


@dataclass
class Inventory:
    """What a walk has found: the slots by canonical name, and the class name at each path."""

    slots: dict[str, Slot] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    _names: dict[int, str] = field(default_factory=dict)

    def add(self, name: str, slot: Slot) -> None:
        """Enters a slot; one that shares its variable with an earlier one becomes an alias."""
        first = self._names.setdefault(id(slot.variable), name)
        if first == name:
            self.slots[name] = slot
        else:
            self.slots[first].aliases.append(name)

    def see(self, path: str, module: object) -> None:
        """Enters the class of a module of this library, under its path."""
        for cls in type(module).__mro__:
            if cls.__module__.startswith("multiattn."):
                self.classes[path] = cls.__name__
                break

    def names(self) -> dict[str, str]:
        """Every name, aliases included, with the name that its slot is listed under."""
        found = {name: name for name in self.slots}
        for name, slot in self.slots.items():
            found |= dict.fromkeys(slot.aliases, name)
        return found


def inventory(module: object) -> Inventory:
    """The state of a module, layer or network of any framework.

    Raises:
        TypeError: the object is of no framework that is known and imported.
        ValueError: a Keras layer that isn't built, or a name that would be ambiguous.
    """
    found = Inventory()
    if is_keras(module):
        _walk(module, "", found, _keras_members, KerasSlot, set())
    elif _is("torch.nn", "Module", module):
        _walk_torch(module, found)
    elif _is("flax.nnx", "Module", module):
        _walk(module, "", found, _flax_members, FlaxSlot, set())
    else:
        raise TypeError(
            f"expected a torch.nn.Module, keras.layers.Layer or flax.nnx.Module, got {module!r}"
        )
    return found


def is_keras(module: object) -> bool:
    """Whether the object is a Keras layer or model (on the torch backend it is a torch one too)."""
    return _is("keras", "Layer", module)


def _is(package: str, name: str, value: object) -> bool:
    module = sys.modules.get(package)
    return module is not None and isinstance(value, getattr(module, name))


def _walk_torch(module: Any, found: Inventory) -> None:
    while type(module).__name__ in {
        "OptimizedModule",
        "DataParallel",
        "DistributedDataParallel",
        "AveragedModel",
    }:
        module = module._modules.get("_orig_mod") or module.module
    for path, member in module.named_modules(remove_duplicate=False):
        found.see(path, member)
    tensors = module.state_dict(keep_vars=True)
    for name in sorted(tensors, key=natural):
        if hasattr(tensors[name], "shape") and not name.endswith("num_batches_tracked"):
            found.add(name.replace("_orig_mod.", ""), TorchSlot(tensors[name]))


def _walk(
    value: Any, path: str, found: Inventory, members_of: Any, slot: type[Slot], above: set[int]
) -> None:
    """Depth first, members in natural order; ``above`` holds what the path leads through."""
    if id(value) in above:
        return
    found.see(path, value)
    own = leaf(value)
    named = {own.get(key, (key, None))[0]: (key, member) for key, member in members_of(value)}
    for name in sorted(named, key=natural):
        key, member = named[name]
        if "." in name:
            raise ValueError(
                f"a member's name must not hold a dot: {name!r} of {path or 'the root'}"
            )
        below = f"{path}.{name}" if path else name
        if _is_variable(member):
            axes = own.get(key, (key, None))[1]
            found.add(below, slot(member, AxisOrder(axes, rank(value)) if axes else None))
        else:
            _walk(member, below, found, members_of, slot, above | {id(value)})


def _is_variable(value: object) -> bool:
    return (
        _is("keras", "Variable", value)
        or _is("flax.nnx", "Param", value)
        or _is("flax.nnx", "BatchStat", value)
    )


def _container(value: object) -> Iterator[tuple[str, Any]] | None:
    if isinstance(value, Mapping):
        return ((str(key), member) for key, member in value.items())
    if isinstance(value, (list, tuple)):
        return ((str(index), member) for index, member in enumerate(value))
    return None


def _keras_members(value: Any) -> Iterator[tuple[str, Any]]:
    keras = sys.modules["keras"]

    def stateful(member: object) -> bool:
        return isinstance(member, (keras.Layer, keras.Variable, Mapping, list, tuple))

    members: Any = _container(value)
    if members is None:
        if not value.built:
            raise ValueError(
                f"{type(value).__name__} {value.name!r} isn't built and has no state yet: "
                "call it once on data or on a keras.Input"
            )
        layers = [
            x for x in getattr(value, "layers", []) if not isinstance(x, keras.layers.InputLayer)
        ]
        if isinstance(value, keras.Sequential):
            members = ((str(index), layer) for index, layer in enumerate(layers))
        elif isinstance(value, keras.src.models.Functional):
            members = ((layer.name, layer) for layer in layers)
        else:
            # On the torch backend sublayers are in _modules and not in vars. Some stock layers
            # hold `kernel` as the variable `_kernel` behind a property.
            attributes = {**getattr(value, "_modules", {}), **vars(value)}
            members = (
                (key.lstrip("_"), member)
                for key, member in attributes.items()
                if not key.startswith("_") or isinstance(member, keras.Variable)
            )
    for name, member in members:
        if stateful(member):
            yield name, member


def _flax_members(value: Any) -> Iterator[tuple[str, Any]]:
    nnx = sys.modules["flax.nnx"]

    def stateful(member: object) -> bool:
        return isinstance(
            member, (nnx.Module, nnx.Param, nnx.BatchStat, nnx.List, nnx.Dict, Mapping, list, tuple)
        )

    if isinstance(value, nnx.Sequential):
        value = value.layers
    members: Any = _container(list(value) if isinstance(value, nnx.List) else value)
    if members is None:
        members = vars(value).items()
    for name, member in members:
        if not name.startswith("_pytree__") and stateful(member):
            yield name, member
