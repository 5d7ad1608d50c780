import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Dropout of whole samples: stochastic depth, on the branch of a residual block.

    Args:
        rate: the part that is dropped, in [0, 1); the others are scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        each = torch.full((len(x), *(1,) * (x.dim() - 1)), 1 - self.rate, device=x.device)
        return x * (torch.bernoulli(each) / (1 - self.rate)).to(x.dtype)
