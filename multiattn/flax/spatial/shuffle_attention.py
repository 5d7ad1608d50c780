import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class ShuffleAttention(nnx.Module):
    """Shuffle attention: in each group half of the channels get a channel gate, half a spatial one.

    "SA-Net: Shuffle Attention for Deep Convolutional Neural Networks", Zhang and Yang,
    ICASSP 2021.

    Args:
        channels: channels of the input, and of the output; divisible by 2 * groups.
        groups: groups of channels, which share all parameters.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        groups: int = 64,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, groups=groups)
        checks.divisible(self, by="2 * groups", channels=channels, **{"2 * groups": 2 * groups})
        half = channels // (2 * groups)
        self.groups = groups
        self.dtype = dtype

        def parameter(initial: nn.initializers.Initializer, *shape: int) -> nnx.Param:
            return nnx.Param(initial(rngs.params(), shape, param_dtype))

        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        self.cweight = parameter(zeros, 1, half, 1, 1)
        self.cbias = parameter(ones, 1, half, 1, 1)
        self.sweight = parameter(zeros, 1, half, 1, 1)
        self.sbias = parameter(ones, 1, half, 1, 1)
        self.gn_weight = parameter(ones, half)
        self.gn_bias = parameter(zeros, half)
        self.norm = nn.InstanceNorm(channels // 2, dtype=dtype, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, cweight, cbias, sweight, sbias, gn_weight, gn_bias = nn.promote(
            self.dtype,
            x,
            *(self.cweight[0, :, 0, 0], self.cbias[0, :, 0, 0]),
            *(self.sweight[0, :, 0, 0], self.sbias[0, :, 0, 0]),
            *(self.gn_weight, self.gn_bias),
        )
        groups = x.reshape(*x.shape[:3], self.groups, 2, -1)
        channel, spatial = groups[..., 0, :], groups[..., 1, :]
        context = channel.mean((1, 2), keepdims=True)
        channel = channel * nn.sigmoid(cweight * context + cbias)
        context = self.norm(spatial.reshape(*x.shape[:3], -1)).reshape(spatial.shape)
        context = gn_weight * context + gn_bias
        spatial = spatial * nn.sigmoid(sweight * context + sbias)
        return nn.channel_shuffle(jnp.stack([channel, spatial], -2).reshape(x.shape), 2)
