"""Containers whose members are called "0", "1", ..., as in PyTorch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
from keras.layers import Layer

from .module import Module


class _Numbered(Module):
    """Holds its members as attributes "0", "1", ..."""

    def __init__(self, members: Iterable[Layer | Callable], **kwargs):
        super().__init__(**kwargs)
        self.members = 0
        for member in members:
            self.append(member)

    def append(self, member: Layer | Callable):
        setattr(self, str(self.members), member)
        self.members += 1

    def __len__(self) -> int:
        return self.members

    def __iter__(self) -> Iterator[Layer | Callable]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Layer | Callable:
        return getattr(self, str(range(len(self))[index]))

    def __dir__(self):
        # torch's leaves out what isn't an identifier, and Keras saves what is in here
        return sorted({*super().__dir__(), *map(str, range(len(self)))})

    def get_config(self):
        members = [keras.saving.serialize_keras_object(member) for member in self]
        return {**super().get_config(), "members": members}


def _restored(config: dict[str, Any]) -> dict[str, Any]:
    members = map(keras.saving.deserialize_keras_object, config["members"])
    return {**config, "members": list(members)}


class ModuleList(_Numbered):
    """A list of layers, that are called one by one by whoever holds it."""

    def __init__(self, members: Iterable[Layer] = (), **kwargs):
        super().__init__(members, **kwargs)
        self.built = True

    @classmethod
    def from_config(cls, config):
        return cls(**_restored(config))


class Sequential(_Numbered):
    """Calls its members, layers or plain functions, one after the other."""

    def __init__(self, *members: Layer | Callable, **kwargs):
        super().__init__(members, **kwargs)

    @classmethod
    def from_config(cls, config):
        config = _restored(config)
        return cls(*config.pop("members"), **config)

    def call(self, x, training=None):
        for member in self:
            x = member(x, training=training) if isinstance(member, Layer) else member(x)
        return x
