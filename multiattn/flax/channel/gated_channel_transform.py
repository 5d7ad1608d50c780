import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class GatedChannelTransform(nnx.Module):
    """Gated channel transformation: channels compete by their norms; starts as the identity.

    "Gated Channel Transformation for Visual Recognition", Yang et al., CVPR 2020.

    Args:
        channels: channels of the input, and of the output.
        eps: added under the roots or, with "l1", to the divisor.
        mode: the norm, "l2" or "l1".
        after_relu: the input is known not to be negative: "l1" does without the absolute value.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        mode: str = "l2",
        after_relu: bool = False,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels)
        checks.choice(self, ("l2", "l1"), mode=mode)
        self.eps = eps
        self.mode = mode
        self.after_relu = after_relu
        self.dtype = dtype
        shape = (1, channels, 1, 1)
        self.alpha = nnx.Param(nn.initializers.ones(rngs.params(), shape, param_dtype))
        self.gamma = nnx.Param(nn.initializers.zeros(rngs.params(), shape, param_dtype))
        self.beta = nnx.Param(nn.initializers.zeros(rngs.params(), shape, param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, *parameters = nn.promote(self.dtype, x, self.alpha, self.gamma, self.beta)
        alpha, gamma, beta = (parameter.reshape(-1) for parameter in parameters)
        if self.mode == "l2":
            norm = jnp.sqrt(jnp.square(x).sum((1, 2), keepdims=True) + self.eps)
            embedding = alpha * norm
            scale = jnp.sqrt(jnp.square(embedding).mean(-1, keepdims=True) + self.eps)
        else:
            norm = (x if self.after_relu else nn.absolute(x)).sum((1, 2), keepdims=True)
            embedding = alpha * norm
            scale = nn.absolute(embedding).mean(-1, keepdims=True) + self.eps
        return x * (1 + nn.tanh(embedding * (gamma / scale) + beta))
