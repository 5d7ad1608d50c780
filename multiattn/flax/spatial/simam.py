import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class SimAM(nnx.Module):
    """SimAM: gates each element by its distance from its channel's mean; has no parameters.

    "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks",
    Yang et al., ICML 2021.

    Args:
        e_lambda: regulariser of the variance.
        denominator: "add" adds e_lambda to the variance; "clamp" holds four times the variance at
            e_lambda or above (the TensorFlow original, with e_lambda 1e-7).

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        e_lambda: float = 1e-4,
        denominator: str = "add",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs | None = None,
    ):
        checks.positive(self, e_lambda=e_lambda)
        checks.choice(self, ("add", "clamp"), denominator=denominator)
        self.e_lambda = e_lambda
        self.denominator = denominator
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        degrees = max(x.shape[1] * x.shape[2] - 1, 1)
        distance = jnp.square(x - x.mean((1, 2), keepdims=True))
        variance = distance.sum((1, 2), keepdims=True) / degrees
        if self.denominator == "add":
            energy = distance / (4 * (variance + self.e_lambda)) + 0.5
        else:
            energy = distance / jnp.maximum(4 * variance, self.e_lambda) + 0.5
        return x * nn.sigmoid(energy)
