import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class SpatialGroupEnhance(nnx.Module):
    """Spatial group-wise enhance: gates each position of a group by its likeness to the mean.

    "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks",
    Li et al., arXiv 2019.

    Args:
        channels: channels of the input, and of the output; need not be given.
        groups: the channels' number must be divisible by it.

    Shape: (N, H, W, C) -> (N, H, W, C), H * W > 1

    Raises:
        ValueError: the map has a single position, or channels that are not divisible by groups.
    """

    def __init__(
        self,
        channels: int | None = None,
        *,
        groups: int = 64,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.divisible(self, by="groups", groups=groups, channels=channels or groups)
        self.groups = groups
        self.dtype = dtype
        shape = (1, groups, 1, 1)
        self.weight = nnx.Param(nn.initializers.zeros(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(nn.initializers.ones(rngs.params(), shape, param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = nn.promote(self.dtype, x, self.weight, self.bias)
        checks.divisible(self, by="groups", groups=self.groups, channels=x.shape[-1])
        checks.several(self, x=x.shape[1:3])
        groups = x.reshape(*x.shape[:3], self.groups, -1)
        likeness = (groups * groups.mean((1, 2), keepdims=True)).sum(-1)
        likeness = likeness - likeness.mean((1, 2), keepdims=True)
        likeness = likeness / (nn.std(likeness, (1, 2), keepdims=True) + 1e-5)
        gate = nn.sigmoid(likeness * weight.reshape(-1) + bias.reshape(-1))
        return (groups * gate[..., None]).reshape(x.shape)
