from keras import ops

from multiattn import checks
from multiattn.keras import nn


class ExpectationMaximizationAttention(nn.Module):
    """EM attention: rebuilds the map from a few bases, which some steps of EM fit to it.

    "Expectation-Maximization Attention Networks for Semantic Segmentation", Li et al., ICCV 2019.
    Neither the bases nor the shares that positions have in them pass a gradient on.

    Args:
        num_bases: how many bases there are.
        num_stages: EM steps; at least one.
        momentum: share of the old bases in their moving average, which training updates.
        bn_momentum: weight of a new batch in the norm's running statistics.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        num_bases: int = 64,
        num_stages: int = 3,
        momentum: float = 0.9,
        bn_momentum: float = 3e-4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, num_bases=num_bases, num_stages=num_stages)
        self.num_bases = num_bases
        self.num_stages = num_stages
        self.momentum = momentum
        self.bn_momentum = bn_momentum

    def setup(self, shape):
        channels = shape[-1]
        normal = nn.initializers.normal

        def unit_bases(shape, dtype=None):
            return normalized(normal((2 / self.num_bases) ** 0.5)(shape, dtype))

        self.mu = self.add_weight(
            name="mu",
            shape=(1, channels, self.num_bases),
            initializer=unit_bases,
            trainable=False,
            autocast=False,
        )
        initial = normal((2 / channels) ** 0.5)
        self.conv1 = nn.Conv2d(channels, 1, kernel_initializer=initial)
        self.conv2 = nn.Sequential(
            nn.Conv2d(channels, 1, bias=False, kernel_initializer=initial),
            nn.BatchNorm(momentum=self.bn_momentum),
        )

    def call(self, x, training=None):
        n, *_, channels = shape = ops.shape(x)
        features = ops.reshape(ops.stop_gradient(self.conv1(x)), (n, -1, channels))
        bases = ops.cast(self.mu, features.dtype)
        for _ in range(self.num_stages):
            shares = nn.softmax(features @ bases)
            totals = 1e-6 + ops.sum(shares, 1, keepdims=True)
            bases = normalized(ops.swapaxes(features, 1, 2) @ shares / totals)
        rebuilt = nn.relu(ops.reshape(shares @ ops.swapaxes(bases, 1, 2), shape))
        out = nn.relu(self.conv2(rebuilt, training=training) + x)
        if training and self.trainable:
            new = ops.cast(ops.mean(bases, 0, keepdims=True), self.mu.dtype)
            self.mu.assign(self.momentum * self.mu.value + (1 - self.momentum) * new)
        return out


def normalized(bases):
    """Each basis over its length, to which 1e-6 is added."""
    return bases / (1e-6 + ops.norm(bases, axis=1, keepdims=True))
