import torch
from torch import Tensor, nn

from multiattn import checks


class SpatialGroupEnhance(nn.Module):
    """Spatial group-wise enhance: gates each position of a group by its likeness to the mean.

    "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks",
    Li et al., arXiv 2019.

    Args:
        channels: channels of the input, and of the output; need not be given.
        groups: the channels' number must be divisible by it.

    Shape: (N, C, H, W) -> (N, C, H, W), H * W > 1

    Raises:
        ValueError: the map has a single position, or channels that are not divisible by groups.
    """

    def __init__(self, channels: int | None = None, *, groups: int = 64):
        super().__init__()
        checks.divisible(self, by="groups", groups=groups, channels=channels or groups)
        self.groups = groups
        self.weight = nn.Parameter(torch.zeros(1, groups, 1, 1))
        self.bias = nn.Parameter(torch.ones(1, groups, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        checks.divisible(self, by="groups", groups=self.groups, channels=x.shape[1])
        checks.several(self, x=x.shape[2:])
        x = x.unflatten(1, (self.groups, -1))
        likeness = (x * x.mean((3, 4), keepdim=True)).sum(2)
        likeness = likeness - likeness.mean((2, 3), keepdim=True)
        likeness = likeness / (likeness.std((2, 3), keepdim=True) + 1e-5)
        gate = torch.sigmoid(likeness * self.weight + self.bias)
        return (x * gate[:, :, None]).flatten(1, 2)
