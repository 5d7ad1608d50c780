from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn

POOLS = {
    "avg": lambda x: x.mean((1, 2)),
    "max": lambda x: nn.amax(x, (1, 2)),
    "lp": lambda x: jnp.sqrt(jnp.square(x).sum((1, 2))),
    "lse": lambda x: jax.nn.logsumexp(x, (1, 2)),
}


class CBAMChannelGate(nnx.Module):
    """The channel gate of CBAM: one bottleneck over several poolings of the map, summed.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has channels // reduction channels, at least one.
        pool_types: the poolings: "avg", "max", "lp" (the L2 norm), "lse" (log-sum-exp).

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        pool_types: Sequence[str] = ("avg", "max"),
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.nonempty(self, pool_types=pool_types)
        for pool in pool_types:
            checks.choice(self, POOLS, pool_types=pool)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.pool_types = tuple(pool_types)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.fc1 = nn.Linear(channels, hidden, **layer)
        self.fc2 = nn.Linear(hidden, channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        context = sum(self.fc2(nn.relu(self.fc1(POOLS[pool](x)))) for pool in self.pool_types)
        return x * nn.sigmoid(context)[:, None, None, :]


class CBAMSpatialGate(nnx.Module):
    """The spatial gate of CBAM: a convolution over the channels' maximum and mean.

    Args:
        kernel_size: odd.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        kernel_size: int = 7,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.odd(self, kernel_size=kernel_size)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False, **layer)
        self.bn = nn.BatchNorm(1, momentum=0.01, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        planes = jnp.stack([nn.amax(x, -1), x.mean(-1)], -1)
        return x * nn.sigmoid(self.bn(self.conv(planes)))


class CBAM(nnx.Module):
    """Convolutional block attention: a channel gate, then a spatial gate.

    "CBAM: Convolutional Block Attention Module", Woo et al., ECCV 2018.

    Args:
        channels: channels of the input, and of the output.
        reduction: the channel gate's bottleneck has channels // reduction channels, at least one.
        pool_types: the channel gate's poolings: "avg", "max", "lp" (the L2 norm), "lse".
        spatial: False leaves out the spatial gate.
        kernel_size: of the spatial gate; odd.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        pool_types: Sequence[str] = ("avg", "max"),
        spatial: bool = True,
        kernel_size: int = 7,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.channel_gate = CBAMChannelGate(
            channels, reduction=reduction, pool_types=pool_types, **layer
        )
        self.spatial_gate = (
            CBAMSpatialGate(kernel_size=kernel_size, **layer) if spatial else nn.Identity()
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.spatial_gate(self.channel_gate(x))
