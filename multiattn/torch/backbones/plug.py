import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from multiattn import catalog

Options = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


def plug(module: str | type[nn.Module], channels: int, **options: Any) -> nn.Module:
    """A module for a place in a network where the map has so many channels.

    Args:
        module: the name or an alias that it has here, or a class.
        channels: its first argument, if it takes one.
        **options: its further ones.
    """
    cls: Any
    if isinstance(module, str):
        from multiattn import torch  # the whole tree, of which this is a part

        cls = getattr(torch, catalog.info(module).name)
    else:
        cls = module
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    widths = [channels] if any(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters) else []
    return cls(*widths, **options)


def per_stage(options: Options, stages: int) -> Sequence[Mapping[str, Any]]:
    """Options given once, or once per stage: once per stage."""
    return options if isinstance(options, Sequence) else [options or {}] * stages
