import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class DenseImplicitGates(nn.Module):
    """The four gates of DIANet's cell from one of its inputs, by a bottleneck.

    Args:
        channels: channels of the input.
        reduction: the bottleneck has channels // reduction channels, at least one.

    Shape: (N, C) -> (N, 4C): input, forget, cell, output
    """

    def __init__(self, channels: int, *, reduction: int = 4):
        super().__init__()
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x)))


class DenseImplicitAttention(nn.Module):
    """Dense and implicit attention: the channel gate is an LSTM's state, from block to block.

    "DIANet: Dense-and-Implicit Attention Network", Huang et al., AAAI 2020.

    One module serves all blocks of a stage: each is given the state that the one before returned,
    the first one none.

    Args:
        channels: channels of the input, and of the output.
        reduction: the cell's bottlenecks have channels // reduction channels, at least one.

    Shape: (N, C, H, W), h (N, C), c (N, C) -> (N, C, H, W), h (N, C), c (N, C); without h or c
        they are zero
    """

    def __init__(self, channels: int, *, reduction: int = 4):
        super().__init__()
        checks.quotient(self, channels=channels, reduction=reduction)
        self.ih = DenseImplicitGates(channels, reduction=reduction)
        self.hh = DenseImplicitGates(channels, reduction=reduction)

    def forward(
        self, x: Tensor, h: Tensor | None = None, c: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        context = x.mean((2, 3))
        h = torch.zeros_like(context) if h is None else h
        c = torch.zeros_like(context) if c is None else c
        checks.sizes(self, context.shape[1:], h=h.shape[1:], c=c.shape[1:])
        enter, forget, new, leave = (self.ih(context) + self.hh(h)).chunk(4, 1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
        h = torch.sigmoid(leave) * torch.sigmoid(c)
        return x * h[:, :, None, None], h, c
