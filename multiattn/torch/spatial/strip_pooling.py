import torch
from torch import Tensor, nn

from multiattn import checks


class StripPooling(nn.Module):
    """...: what it computes, in a line.

    "...", ... et al., ... .

    Args:
        channels: channels of the input, and of the output.
        option: ...

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int, *, option: int = ...):
        super().__init__()
        checks.positive(self, channels=channels, option=option)
        ...

    def forward(self, x: Tensor) -> Tensor: ...
