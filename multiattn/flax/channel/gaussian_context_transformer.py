import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from multiattn import checks
from multiattn.flax import nn


class GaussianContextTransformer(nnx.Module):
    """Gaussian context transformer: damps the channels whose means are far from the average.

    "Gaussian Context Transformer", Ruan et al., CVPR 2021.

    Args:
        channels: channels of the input, and of the output; need not be given.
        c: standard deviation of the Gaussian.
        learnable: the deviation is learned instead, between beta and alpha + beta.
        alpha: see learnable.
        beta: see learnable.
        eps: added to the variance over the channels.
        form: "std", or "factor" for a formula in circulation, in which c is a factor.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int | None = None,
        *,
        c: float = 2.0,
        learnable: bool = False,
        alpha: float = 3.0,
        beta: float = 1.0,
        eps: float = 1e-5,
        form: str = "std",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, c=c)
        checks.choice(self, ("std", "factor"), form=form)
        self.c = c
        self.alpha = alpha
        self.beta = beta
        self.eps = eps
        self.form = form
        self.dtype = dtype
        self.theta = (
            nnx.Param(nn.initializers.zeros(rngs.params(), (1,), param_dtype))
            if learnable
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x, theta = nn.promote(self.dtype, x, self.theta)
        c = self.c if theta is None else self.alpha * nn.sigmoid(theta) + self.beta
        context = x.mean((1, 2), keepdims=True)
        context = context - context.mean(-1, keepdims=True)
        context = context * lax.rsqrt(jnp.square(context).mean(-1, keepdims=True) + self.eps)
        precision = 1 / c**2 if self.form == "std" else c
        return x * jnp.exp(-0.5 * precision * jnp.square(context))
