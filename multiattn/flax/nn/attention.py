"""Scaled dot-product attention, and multi-head attention with packed projections."""

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks

from .common import promote
from .conv import Linear
from .dropout import Dropout
from .initializers import xavier_uniform, zeros


def scaled_dot_product_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array | None = None,
    scale: float | None = None,
    dropout: Dropout | None = None,
) -> jax.Array:
    """softmax(scale · query · keyᵀ + mask) · value, fused where JAX's computes the same.

    Args:
        query: (N, L, heads, d).
        key: (N, S, heads, d).
        value: (N, S, heads, width).
        mask: boolean (True is attended to) or additive, broadcastable to (N, heads, L, S).
        scale: by default 1 / sqrt(d).
        dropout: applied to the attention weights.

    Returns:
        (N, L, heads, width)
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    drops = dropout is not None and dropout.rate > 0 and not dropout.deterministic
    if mask is not None:
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    boolean = mask is not None and mask.dtype == bool
    # the fused one computes its softmax in float32, wants equal widths, and of single numbers or
    # a single key it may be no product that XLA compiles in bfloat16 on a CPU
    single = 1 in (query.shape[-1], key.shape[1])
    equal = query.shape[-1] == value.shape[-1]
    if query.dtype != jnp.float64 and equal and not single and not drops:
        bias, mask = (None, mask) if boolean else (mask, None)
        return jax.nn.dot_product_attention(query, key, value, bias, mask, scale=scale)
    weights = jnp.einsum("nlhd,nshd->nhls", query * scale, key)
    if mask is not None:
        weights = jnp.where(mask, weights, -jnp.inf) if boolean else weights + mask
    weights = jax.nn.softmax(weights)
    if dropout is not None:
        weights = dropout(weights)
    return jnp.einsum("nhls,nshd->nlhd", weights, value)


class MultiheadAttention(nnx.Module):
    """Multi-head attention over (N, L, C); `dropout` is the rate for the attention weights."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.divisible(self, by="num_heads", embed_dim=embed_dim, num_heads=num_heads)
        options = {"bias": bias, "bias_init": zeros, "dtype": dtype, "param_dtype": param_dtype}
        shape = (3 * embed_dim, embed_dim)
        self.in_proj_weight = nnx.Param(xavier_uniform()(rngs.params(), shape, param_dtype))
        self.in_proj_bias = (
            nnx.Param(zeros(rngs.params(), shape[:1], param_dtype)) if bias else None
        )
        self.out_proj = Linear(embed_dim, embed_dim, rngs=rngs, **options)
        self.dropout = Dropout(dropout, rngs=rngs)
        self.num_heads = num_heads
        self.dtype = dtype

    def __call__(
        self, query: jax.Array, key: jax.Array | None = None, value: jax.Array | None = None
    ) -> jax.Array:
        """Attends from query to key and value, which are by default the query and the key."""
        key = query if key is None else key
        value = key if value is None else value
        *inputs, weight, bias = promote(
            self.dtype, query, key, value, self.in_proj_weight, self.in_proj_bias
        )
        biases = (0, 0, 0) if bias is None else jnp.split(bias, 3)
        query, key, value = (
            (x @ part.T + offset).reshape(*x.shape[:2], self.num_heads, -1)
            for x, part, offset in zip(inputs, jnp.split(weight, 3), biases, strict=True)
        )
        x = scaled_dot_product_attention(query, key, value, dropout=self.dropout)
        return self.out_proj(x.reshape(*x.shape[:2], -1))
