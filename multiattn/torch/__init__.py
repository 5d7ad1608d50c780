"""The modules for PyTorch: channels first."""

from typing import Any

from multiattn import catalog, checks

checks.installed("torch")

from multiattn.torch.backbones import *
from multiattn.torch.channel import *
from multiattn.torch.context import *
from multiattn.torch.conv import *
from multiattn.torch.fusion import *
from multiattn.torch.head import *
from multiattn.torch.norm import *
from multiattn.torch.pooling import *
from multiattn.torch.self_attention import *
from multiattn.torch.spatial import *
from multiattn.torch.token import *


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
