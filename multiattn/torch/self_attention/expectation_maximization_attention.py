import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class ExpectationMaximizationAttention(nn.Module):
    """EM attention: rebuilds the map from a few bases, which some steps of EM fit to it.

    "Expectation-Maximization Attention Networks for Semantic Segmentation", Li et al., ICCV 2019.
    Neither the bases nor the shares that positions have in them pass a gradient on.

    Args:
        channels: channels of the input, and of the output.
        num_bases: how many bases there are.
        num_stages: EM steps; at least one.
        momentum: share of the old bases in their moving average, which training updates.
        bn_momentum: weight of a new batch in the norm's running statistics.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    mu: Tensor

    def __init__(
        self,
        channels: int,
        *,
        num_bases: int = 64,
        num_stages: int = 3,
        momentum: float = 0.9,
        bn_momentum: float = 3e-4,
    ):
        super().__init__()
        checks.positive(self, channels=channels, num_bases=num_bases, num_stages=num_stages)
        self.num_stages = num_stages
        self.momentum = momentum
        bases = torch.randn(1, channels, num_bases) * (2 / num_bases) ** 0.5
        self.register_buffer("mu", normalized(bases))
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, momentum=bn_momentum),
        )
        for conv in (self.conv1, self.conv2[0]):
            nn.init.normal_(conv.weight, std=(2 / channels) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv1(x).flatten(2).detach()
        bases = self.mu.to(features.dtype)
        for _ in range(self.num_stages):
            shares = torch.softmax(features.mT @ bases, 2)
            bases = normalized(features @ shares / (1e-6 + shares.sum(1, keepdim=True)))
        rebuilt = F.relu(bases @ shares.mT).unflatten(2, x.shape[2:])
        out = F.relu(self.conv2(rebuilt) + x)
        if self.training:
            new = bases.mean(0, keepdim=True).to(self.mu.dtype)
            self.mu.copy_(self.momentum * self.mu + (1 - self.momentum) * new)
        return out


def normalized(bases: Tensor) -> Tensor:
    """Each basis over its length, to which 1e-6 is added."""
    return bases / (1e-6 + bases.norm(dim=1, keepdim=True))
