import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import amax


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation: gates each channel by a bottleneck over the channels' means.

    "Squeeze-and-Excitation Networks", Hu et al., CVPR 2018.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has max(1, channels // reduction) channels.
        reduced_channels: channels of the bottleneck, given outright.
        divisor: rounds channels / reduction to a multiple of this number, at least one (timm: 8).
        bias: biases of both layers.
        norm: batch norm between the first layer and the activation.
        pool: "avg", or "avg_max" for half the mean and half the maximum.
        activation: "relu" or "silu".
        gate: "sigmoid" or "hard_sigmoid".

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: float = 16,
        reduced_channels: int | None = None,
        divisor: int | None = None,
        bias: bool = True,
        norm: bool = False,
        pool: str = "avg",
        activation: str = "relu",
        gate: str = "sigmoid",
    ):
        super().__init__()
        checks.positive(self, channels=channels, reduction=reduction)
        checks.choice(self, ("avg", "avg_max"), pool=pool)
        checks.choice(self, ("relu", "silu"), activation=activation)
        checks.choice(self, ("sigmoid", "hard_sigmoid"), gate=gate)
        width = channels / reduction
        if reduced_channels is not None:
            hidden = reduced_channels
        elif divisor is not None:
            hidden = max(divisor, int(width + divisor / 2) // divisor * divisor)
        else:
            hidden = max(1, int(width))
        self.pool = pool
        self.activation = F.relu if activation == "relu" else F.silu
        self.gate = gate
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.bn = nn.BatchNorm2d(hidden) if norm else nn.Identity()
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        context = x.mean((2, 3), keepdim=True)
        if self.pool == "avg_max":
            context = 0.5 * context + 0.5 * amax(x, (2, 3), keepdim=True)
        context = self.fc2(self.activation(self.bn(self.fc1(context))))
        if self.gate == "sigmoid":
            return x * torch.sigmoid(context)
        return x * (F.relu6(context + 3) / 6)
