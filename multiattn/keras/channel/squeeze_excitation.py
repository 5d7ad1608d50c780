from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation: gates each channel by a bottleneck over the channels' means.

    "Squeeze-and-Excitation Networks", Hu et al., CVPR 2018.

    Args:
        reduction: the bottleneck has max(1, channels // reduction) channels.
        reduced_channels: channels of the bottleneck, given outright.
        divisor: rounds channels / reduction to a multiple of this number, at least one (timm: 8).
        bias: biases of both layers.
        norm: batch norm between the first layer and the activation.
        pool: "avg", or "avg_max" for half the mean and half the maximum.
        activation: "relu" or "silu".
        gate: "sigmoid" or "hard_sigmoid".

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        reduction: float = 16,
        reduced_channels: int | None = None,
        divisor: int | None = None,
        bias: bool = True,
        norm: bool = False,
        pool: str = "avg",
        activation: str = "relu",
        gate: str = "sigmoid",
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, reduction=reduction)
        checks.choice(self, ("avg", "avg_max"), pool=pool)
        checks.choice(self, ("relu", "silu"), activation=activation)
        checks.choice(self, ("sigmoid", "hard_sigmoid"), gate=gate)
        self.reduction = reduction
        self.reduced_channels = reduced_channels
        self.divisor = divisor
        self.bias = bias
        self.norm = norm
        self.pool = pool
        self.activation = nn.relu if activation == "relu" else nn.silu
        self.gate = gate

    def setup(self, shape):
        channels = shape[-1]
        width, divisor = channels / self.reduction, self.divisor
        if self.reduced_channels is not None:
            hidden = self.reduced_channels
        elif divisor is not None:
            hidden = max(divisor, int(width + divisor / 2) // divisor * divisor)
        else:
            hidden = max(1, int(width))
        self.fc1 = nn.Conv2d(hidden, 1, bias=self.bias)
        self.bn = nn.BatchNorm() if self.norm else nn.Identity()
        self.fc2 = nn.Conv2d(channels, 1, bias=self.bias)

    def call(self, x, training=None):
        context = ops.mean(x, (1, 2), keepdims=True)
        if self.pool == "avg_max":
            context = 0.5 * context + 0.5 * nn.amax(x, (1, 2), keepdims=True)
        context = self.fc2(self.activation(self.bn(self.fc1(context), training=training)))
        if self.gate == "sigmoid":
            return x * nn.sigmoid(context)
        return x * (nn.relu6(context + 3) / 6)
