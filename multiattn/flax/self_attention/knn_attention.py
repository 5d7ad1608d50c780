import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class KNNAttention(nnx.Module):
    """Multi-head self-attention in which each query keeps only its best scores.

    "KVT: k-NN Attention for Boosting Vision Transformers", Wang et al., ECCV 2022.

    Args:
        channels: channels of the input, and of the output; a multiple of num_heads.
        num_heads: number of heads.
        qkv_bias: bias of the queries, keys and values.
        attn_dropout: rate of dropout of the attention weights.
        proj_dropout: rate of dropout of the output.
        topk: how many keys each query attends to; all of them where there are fewer.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int = 8,
        qkv_bias: bool = False,
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        topk: int = 100,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, topk=topk)
        checks.divisible(self, by="num_heads", channels=channels, num_heads=num_heads)
        self.num_heads = num_heads
        self.topk = topk
        self.dtype = dtype
        layer = {
            "weight_init": nn.initializers.trunc_normal(0.02),
            "bias_init": nn.initializers.zeros,
            "dtype": dtype,
            "param_dtype": param_dtype,
            "rngs": rngs,
        }
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias, **layer)
        self.attn_drop = nn.Dropout(attn_dropout, rngs=rngs)
        self.proj = nn.Linear(channels, channels, **layer)
        self.proj_drop = nn.Dropout(proj_dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        n, length, _ = x.shape
        qkv = self.qkv(x).reshape(n, length, 3, self.num_heads, -1)
        queries, keys, values = jnp.moveaxis(qkv, 2, 0)
        scores = jnp.einsum("nlhd,nshd->nhls", queries * queries.shape[-1] ** -0.5, keys)
        best, places = jax.lax.top_k(scores, min(self.topk, length))
        weights = self.attn_drop(nn.softmax(best))
        attention = jnp.put_along_axis(
            jnp.zeros_like(scores), places, weights, axis=-1, inplace=False
        )
        context = jnp.einsum("nhls,nshd->nlhd", attention, values)
        return self.proj_drop(self.proj(context.reshape(x.shape)))
