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


def create(name: str, **options: Any) -> Any:
    """Makes a module by its name or an alias.

    Args:
        name: as in ``multiattn.list_modules()``; case doesn't matter.
        **options: the module's own.

    Raises:
        ValueError: there is no such module, or an option is not accepted.
    """
    return globals()[catalog.info(name).name](**options)
