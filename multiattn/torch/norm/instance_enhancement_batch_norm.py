import torch
from torch import Tensor, nn

from multiattn import checks


class InstanceEnhancementBatchNorm(nn.Module):
    """Batch norm whose scale is gated, channel by channel, by the image's own mean.

    "Instance Enhancement Batch Normalization: an Adaptive Regulator of Batch Noise", Liang et
    al., AAAI 2020.

    Args:
        channels: channels of the input, and of the output.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.

    Shape: (N, C, H, W) -> (N, C, H, W)

    Raises:
        ValueError: the input has other than four axes.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        checks.positive(self, channels=channels)
        self.norm = nn.BatchNorm2d(channels, eps=eps, momentum=momentum, affine=False)

        def parameter(value: float) -> nn.Parameter:
            return nn.Parameter(torch.full((1, channels, 1, 1), value))

        self.weight = parameter(1.0)
        self.bias = parameter(0.0)
        self.weight_readjust = parameter(0.0)
        self.bias_readjust = parameter(-1.0)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            checks.fail(self, f"the input has {x.ndim} axes, expected 4")
        mean = x.mean((2, 3), keepdim=True)
        gate = torch.sigmoid(mean * self.weight_readjust + self.bias_readjust)
        return self.norm(x) * (self.weight * gate) + self.bias
