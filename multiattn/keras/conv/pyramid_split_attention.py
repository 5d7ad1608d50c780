from keras import ops

from multiattn import checks
from multiattn.keras import nn


class PyramidSplitAttention(nn.Module):
    """...: what it computes, in a line.

    "...", ... et al., ... .

    Args:
        option: ...

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, option: int = ..., **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, option=option)
        self.option = option

    def setup(self, shape):
        channels = shape[-1]
        ...

    def call(self, x, training=None): ...
