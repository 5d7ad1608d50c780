import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class WeightedFeatureFusion(nn.Module):
    """Weighted feature fusion: adds maps with a learned scalar weight each, as BiFPN's nodes do.

    "EfficientDet: Scalable and Efficient Object Detection", Tan et al., CVPR 2020.

    Args:
        num_inputs: how many maps are added; at least 2.
        mode: how the weights are normalised: "fast" (ReLU, over their sum), "softmax", "sigmoid"
            (times 2 / num_inputs), or "sum" for none at all.
        eps: added to the weights' sum; of mode "fast".

    Shape:
        num_inputs maps (N, C_i, H, W) -> (N, C_0, H, W); of a map with fewer channels than the
        first the others count as zero, of one with more the first C_0 are taken.

    Raises:
        ValueError: another number of inputs, or inputs of different sizes.
    """

    def __init__(self, num_inputs: int, *, mode: str = "fast", eps: float = 1e-4):
        super().__init__()
        if num_inputs < 2:
            checks.fail(self, f"num_inputs ({num_inputs}) must be at least 2")
        checks.choice(self, ("fast", "softmax", "sigmoid", "sum"), mode=mode)
        self.num_inputs = num_inputs
        self.mode = mode
        self.eps = eps
        if mode != "sum":
            initial = 0.0 if mode == "sigmoid" else 1.0
            self.w = nn.Parameter(torch.full((num_inputs,), initial))

    def normalized(self) -> Tensor:
        """The factors of the inputs."""
        if self.mode == "softmax":
            return torch.softmax(self.w, 0)
        if self.mode == "sigmoid":
            return torch.sigmoid(self.w) * (2 / self.num_inputs)
        positive = F.relu(self.w)
        return positive / (positive.sum() + self.eps)

    def forward(self, *inputs: Tensor) -> Tensor:
        if len(inputs) != self.num_inputs:
            checks.fail(self, f"got {len(inputs)} inputs, expected num_inputs ({self.num_inputs})")
        n, channels, height, width = inputs[0].shape
        for index, x in enumerate(inputs):
            size = (x.shape[0], *x.shape[2:])
            checks.sizes(self, (n, height, width), **{f"input {index}": size})
        maps = [fit(x, channels) for x in inputs]
        if self.mode != "sum":
            maps = [weight * x for weight, x in zip(self.normalized(), maps, strict=True)]
        return sum(maps[1:], maps[0])


def fit(x: Tensor, channels: int) -> Tensor:
    """The map with this many channels: zeros are added, or the last ones cut."""
    return x if x.shape[1] == channels else F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))
