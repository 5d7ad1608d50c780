from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaxPool1d(nn.MaxPool1d):
    """torch.nn.MaxPool1d, which torch.export would bind to one length; over (N, C, L)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(
            x.unsqueeze(2),
            (1, self.kernel_size),
            (1, self.stride),
            (0, self.padding),
            (1, self.dilation),
            self.ceil_mode,
        ).squeeze(2)


def amax(x: Tensor, dim: int | Sequence[int], *, keepdim: bool = False) -> Tensor:
    """The largest along a dimension, or along dimensions that follow each other.

    Of equal ones the first has the gradient, as with torch.max; torch.amax, which shares it out,
    is fast where there is none.
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return x.amax(dim, keepdim)
    first, *others = (dim,) if isinstance(dim, int) else dim
    if others:
        x = x.flatten(first, others[-1])
    largest = x.max(first, keepdim).values
    return largest.unflatten(first, (1,) * (1 + len(others))) if keepdim and others else largest
