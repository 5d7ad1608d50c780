from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn.flax import nn


def linear(in_features: int, out_features: int, *, bias: bool = True, **layer) -> nn.Linear:
    """A linear layer, drawn as a truncated normal of deviation 0.02, without bias."""
    return nn.Linear(
        in_features,
        out_features,
        bias=bias,
        weight_init=nn.initializers.trunc_normal(0.02),
        bias_init=nn.initializers.zeros,
        **layer,
    )


class PatchEmbedding(nnx.Module):
    """Cuts the image into square patches and maps each to a vector.

    Args:
        in_channels: channels of the images.
        embed_dim: width of the vectors.
        patch_size: height and width of a patch; what remains of the image is left out.
        bias: of the map.
        eps: of a layer norm of the vectors; None for no norm.

    Shape: (N, H, W, in_channels) -> (N, H // patch_size, W // patch_size, embed_dim)
    """

    def __init__(
        self,
        in_channels: int,
        embed_dim: int,
        *,
        patch_size: int,
        bias: bool = True,
        eps: float | None = None,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        shape: dict[str, Any] = {"stride": patch_size, "bias": bias}
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, **shape, **layer)
        self.norm = nn.Identity() if eps is None else nn.LayerNorm(embed_dim, eps=eps, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.proj(x))


class TransformerMLP(nnx.Module):
    """Two linear layers with a GELU between them.

    Args:
        channels: width of the input, and of the output.
        hidden_channels: width between them.
        dropout: behind each layer.

    Shape: (..., C) -> (..., C)
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        *,
        dropout: float,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.fc1 = linear(channels, hidden_channels, **layer)
        self.fc2 = linear(hidden_channels, channels, **layer)
        self.dropout = nn.Dropout(dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dropout(self.fc2(self.dropout(nn.gelu(self.fc1(x)))))
