"""The modules for Keras 3, on any of its backends: channels last."""

from typing import Any

from multiattn import catalog, checks

checks.installed("keras")

from multiattn.keras.backbones import *
from multiattn.keras.channel import *
from multiattn.keras.context import *
from multiattn.keras.conv import *
from multiattn.keras.fusion import *
from multiattn.keras.head import *
from multiattn.keras.norm import *
from multiattn.keras.pooling import *
from multiattn.keras.self_attention import *
from multiattn.keras.spatial import *
from multiattn.keras.token import *


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
