from collections.abc import Sequence

from keras import ops

from multiattn import checks
from multiattn.keras import nn

POOLS = {
    "avg": lambda x: ops.mean(x, (1, 2)),
    "max": lambda x: nn.amax(x, (1, 2)),
    "lp": lambda x: ops.sqrt(ops.sum(ops.square(x), (1, 2))),
    "lse": lambda x: ops.logsumexp(x, (1, 2)),
}


class CBAMChannelGate(nn.Module):
    """The channel gate of CBAM: one bottleneck over several poolings of the map, summed.

    Args:
        reduction: the bottleneck has channels // reduction channels, at least one.
        pool_types: the poolings: "avg", "max", "lp" (the L2 norm), "lse" (log-sum-exp).

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self, *, reduction: int = 16, pool_types: Sequence[str] = ("avg", "max"), **kwargs
    ):
        super().__init__(**kwargs)
        checks.nonempty(self, pool_types=pool_types)
        for pool in pool_types:
            checks.choice(self, POOLS, pool_types=pool)
        self.reduction = reduction
        self.pool_types = tuple(pool_types)

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.fc1 = nn.Linear(hidden)
        self.fc2 = nn.Linear(channels)

    def call(self, x, training=None):
        context = sum(self.fc2(nn.relu(self.fc1(POOLS[pool](x)))) for pool in self.pool_types)
        return x * nn.sigmoid(context)[:, None, None, :]


class CBAMSpatialGate(nn.Module):
    """The spatial gate of CBAM: a convolution over the channels' maximum and mean.

    Args:
        kernel_size: odd.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, kernel_size: int = 7, **kwargs):
        super().__init__(**kwargs)
        checks.odd(self, kernel_size=kernel_size)
        self.kernel_size = kernel_size

    def setup(self, shape):
        self.conv = nn.Conv2d(1, self.kernel_size, padding=self.kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm(momentum=0.01)

    def call(self, x, training=None):
        planes = ops.stack([nn.amax(x, -1), ops.mean(x, -1)], -1)
        return x * nn.sigmoid(self.bn(self.conv(planes), training=training))


class CBAM(nn.Module):
    """Convolutional block attention: a channel gate, then a spatial gate.

    "CBAM: Convolutional Block Attention Module", Woo et al., ECCV 2018.

    Args:
        reduction: the channel gate's bottleneck has channels // reduction channels, at least one.
        pool_types: the channel gate's poolings: "avg", "max", "lp" (the L2 norm), "lse".
        spatial: False leaves out the spatial gate.
        kernel_size: of the spatial gate; odd.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        reduction: int = 16,
        pool_types: Sequence[str] = ("avg", "max"),
        spatial: bool = True,
        kernel_size: int = 7,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.reduction = reduction
        self.pool_types = tuple(pool_types)
        self.spatial = spatial
        self.kernel_size = kernel_size

    def setup(self, shape):
        self.channel_gate = CBAMChannelGate(reduction=self.reduction, pool_types=self.pool_types)
        self.spatial_gate = (
            CBAMSpatialGate(kernel_size=self.kernel_size) if self.spatial else nn.Identity()
        )

    def call(self, x, training=None):
        x = self.channel_gate(x, training=training)
        return self.spatial_gate(x, training=training)
