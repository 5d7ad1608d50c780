from collections.abc import Mapping, Sequence
from typing import Any

from keras.saving import get_registered_object

from multiattn import catalog
from multiattn.keras import nn

Options = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


def plug(module: str | type[nn.Module], **options: Any) -> nn.Module:
    """A module for a place in a network.

    Args:
        module: the name or an alias that it has here, a class, or the name of a class that is
            registered with Keras.
        **options: its options.
    """
    if isinstance(module, str):
        from multiattn import keras  # the whole tree, of which this is a part

        cls = get_registered_object(module) or getattr(keras, catalog.info(module).name)
    else:
        cls = module
    return cls(**options)


def per_stage(options: Options, stages: int) -> Sequence[Mapping[str, Any]]:
    """Options given once, or once per stage: once per stage."""
    return options if isinstance(options, Sequence) else [options or {}] * stages
