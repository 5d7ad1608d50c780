"""The modules for Flax nnx: channels last."""

from typing import Any

from multiattn import catalog, checks

checks.installed("flax")

from multiattn.flax.backbones import *
from multiattn.flax.channel import *
from multiattn.flax.context import *
from multiattn.flax.conv import *
from multiattn.flax.fusion import *
from multiattn.flax.head import *
from multiattn.flax.norm import *
from multiattn.flax.pooling import *
from multiattn.flax.self_attention import *
from multiattn.flax.spatial import *
from multiattn.flax.token import *


def create(name: str, *args: Any, **options: Any) -> Any:
    """Makes a module by its name or an alias, or a network by the name it was published under.

    Args:
        name: as in ``multiattn.list_modules()`` or ``multiattn.list_models()``; case doesn't
            matter.
        *args: the module's positional ones.
        **options: the module's own; of a published network those that are to be otherwise.

    Raises:
        ValueError: there is no such module, or an option is not accepted.
    """
    entry, published = catalog.find(name)
    return globals()[entry.name](*args, **{**published, **options})
