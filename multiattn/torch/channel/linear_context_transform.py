import torch
from torch import Tensor, nn

from multiattn import checks


class LinearContextTransform(nn.Module):
    """Linear context transform: gates each channel by its mean, standardised within its group.

    "Linear Context Transform Block", Ruan et al., AAAI 2020.

    Args:
        channels: channels of the input, and of the output; divisible by groups.
        groups: groups of channels.
        eps: added to the variance within a group.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int, *, groups: int = 64, eps: float = 1e-5):
        super().__init__()
        checks.divisible(self, by="groups", groups=groups, channels=channels)
        self.groups = groups
        self.norm = nn.LayerNorm(channels // groups, eps=eps, elementwise_affine=False)
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        context = self.norm(x.mean((2, 3)).unflatten(1, (self.groups, -1))).flatten(1)
        gate = torch.sigmoid(self.weight * context + self.bias)
        return x * gate[:, :, None, None]
