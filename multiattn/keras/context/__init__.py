from multiattn.keras.context.aspp import ASPP
from multiattn.keras.context.global_context import GlobalContext
from multiattn.keras.context.object_context_block import ObjectContextBlock
from multiattn.keras.context.pyramid_pooling import PyramidPooling

__all__ = [
    "ASPP",
    "GlobalContext",
    "ObjectContextBlock",
    "PyramidPooling",
]
