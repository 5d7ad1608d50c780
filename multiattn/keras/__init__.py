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


def create(name: str, **options: Any) -> Any:
    """Makes a module by its name or an alias.

    Args:
        name: as in ``multiattn.list_modules()``; case doesn't matter.
        **options: the module's own.

    Raises:
        ValueError: there is no such module, or an option is not accepted.
    """
    return globals()[catalog.info(name).name](**options)
