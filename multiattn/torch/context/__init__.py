from multiattn.torch.context.aspp import ASPP
from multiattn.torch.context.global_context import GlobalContext
from multiattn.torch.context.object_context_block import ObjectContextBlock
from multiattn.torch.context.pyramid_pooling import PyramidPooling

__all__ = [
    "ASPP",
    "GlobalContext",
    "ObjectContextBlock",
    "PyramidPooling",
]
