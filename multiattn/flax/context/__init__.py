from multiattn.flax.context.aspp import ASPP
from multiattn.flax.context.global_context import GlobalContext
from multiattn.flax.context.object_context_block import ObjectContextBlock
from multiattn.flax.context.pyramid_pooling import PyramidPooling

__all__ = [
    "ASPP",
    "GlobalContext",
    "ObjectContextBlock",
    "PyramidPooling",
]
