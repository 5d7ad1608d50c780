import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class LinearContextTransform(nnx.Module):
    """Linear context transform: gates each channel by its mean, standardised within its group.

    "Linear Context Transform Block", Ruan et al., AAAI 2020.

    Args:
        channels: channels of the input, and of the output; divisible by groups.
        groups: groups of channels.
        eps: added to the variance within a group.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        groups: int = 64,
        eps: float = 1e-5,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.divisible(self, by="groups", groups=groups, channels=channels)
        self.groups = groups
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.norm = nn.LayerNorm(channels // groups, eps=eps, scale=False, bias=False, **layer)
        self.weight = nnx.Param(nn.initializers.zeros(rngs.params(), (channels,), param_dtype))
        self.bias = nnx.Param(nn.initializers.ones(rngs.params(), (channels,), param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = nn.promote(self.dtype, x, self.weight, self.bias)
        context = x.mean((1, 2)).reshape(len(x), self.groups, -1)
        context = self.norm(context).reshape(len(x), -1)
        gate = nn.sigmoid(weight * context + bias)
        return x * gate[:, None, None, :]
