import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from multiattn import checks
from multiattn.flax import nn


class ExpectationMaximizationAttention(nnx.Module):
    """EM attention: rebuilds the map from a few bases, which some steps of EM fit to it.

    "Expectation-Maximization Attention Networks for Semantic Segmentation", Li et al., ICCV 2019.
    Neither the bases nor the shares that positions have in them pass a gradient on.

    Args:
        channels: channels of the input, and of the output.
        num_bases: how many bases there are.
        num_stages: EM steps; at least one.
        momentum: share of the old bases in their moving average, which training updates.
        bn_momentum: weight of a new batch in the norm's running statistics.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        num_bases: int = 64,
        num_stages: int = 3,
        momentum: float = 0.9,
        bn_momentum: float = 3e-4,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, num_bases=num_bases, num_stages=num_stages)
        self.num_stages = num_stages
        self.momentum = momentum
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        normal = nn.initializers.normal
        bases = normal((2 / num_bases) ** 0.5)(
            rngs.params(), (1, channels, num_bases), jnp.promote_types(param_dtype, jnp.float32)
        )
        self.mu = nnx.BatchStat(normalized(bases))
        initial = normal((2 / channels) ** 0.5)
        self.conv1 = nn.Conv2d(channels, channels, 1, weight_init=initial, **layer)
        self.conv2 = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False, weight_init=initial, **layer),
            nn.BatchNorm(channels, momentum=bn_momentum, **layer),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        features = lax.stop_gradient(self.conv1(x)).reshape(len(x), -1, x.shape[-1])
        bases = self.mu[...].astype(features.dtype)
        for _ in range(self.num_stages):
            shares = nn.softmax(features @ bases)
            bases = normalized(features.mT @ shares / (1e-6 + shares.sum(1, keepdims=True)))
        rebuilt = nn.relu(shares @ bases.mT).reshape(x.shape)
        out = nn.relu(self.conv2(rebuilt) + x)
        if not self.conv2[1].use_running_average:
            new = bases.mean(0, keepdims=True).astype(self.mu.dtype)
            self.mu[...] = self.momentum * self.mu[...] + (1 - self.momentum) * new
        return out


def normalized(bases: jax.Array) -> jax.Array:
    """Each basis over its length, to which 1e-6 is added."""
    return bases / (1e-6 + jnp.linalg.norm(bases, axis=1, keepdims=True))
