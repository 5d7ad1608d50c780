"""Scaled dot-product attention, and multi-head attention with packed projections."""

from keras import ops
from keras.backend import standardize_dtype
from keras.layers import Dropout

from multiattn import checks

from .conv import Linear
from .initializers import xavier_uniform, zeros
from .module import Module


def scaled_dot_product_attention(
    query,
    key,
    value,
    *,
    mask=None,
    scale: float | None = None,
    dropout: Dropout | None = None,
    training: bool | None = None,
):
    """softmax(scale · query · keyᵀ + mask) · value, by Keras's fused attention where it can.

    Args:
        query: (N, L, heads, d).
        key: (N, S, heads, d).
        value: (N, S, heads, width).
        mask: boolean (what is attended to) or additive, broadcastable to (N, heads, L, S).
        scale: by default 1 / sqrt(d).
        dropout: applied to the attention weights in training mode.
        training: whether in training mode.

    Returns:
        (N, L, heads, width)
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if not training or (dropout is not None and dropout.rate == 0):
        dropout = None
    double = standardize_dtype(query.dtype) == "float64"
    if mask is not None:
        mask = ops.reshape(mask, (1,) * (4 - len(mask.shape)) + ops.shape(mask))
        boolean = standardize_dtype(mask.dtype) == "bool"
    # the fused one makes JAX's softmax in float32, wants equal widths, and of single numbers or
    # a single key it may be no product that XLA compiles in bfloat16 on a CPU
    single = 1 in (query.shape[-1], key.shape[1])
    equal = query.shape[-1] == value.shape[-1]
    if not double and equal and not single and dropout is None:
        given = {} if mask is None else {"mask" if boolean else "bias": mask}
        return ops.dot_product_attention(query, key, value, scale=scale, **given)
    weights = ops.einsum("nlhd,nshd->nhls", query * scale, key)
    if mask is not None:
        weights = ops.where(mask, weights, -float("inf")) if boolean else weights + mask
    weights = ops.softmax(weights)
    if dropout is not None:
        weights = dropout(weights, training=True)
    return ops.einsum("nhls,nshd->nlhd", weights, value)


class MultiheadAttention(Module):
    """Multi-head attention over (N, L, C).

    Args:
        num_heads: number of heads.
        dropout: rate of dropout of the attention weights.
        bias: whether the projections have biases.
    """

    def __init__(self, num_heads: int, *, dropout: float = 0.0, bias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.dropout_rate = dropout
        self.use_bias = bias

    def setup(self, query_shape, key_shape=None, value_shape=None):
        embed_dim = query_shape[-1]
        checks.divisible(self, by="num_heads", embed_dim=embed_dim, num_heads=self.num_heads)
        self.in_proj_weight = self.add_weight(
            name="in_proj_weight", shape=(3 * embed_dim, embed_dim), initializer=xavier_uniform()
        )
        if self.use_bias:
            self.in_proj_bias = self.add_weight(
                name="in_proj_bias", shape=(3 * embed_dim,), initializer=zeros
            )
        self.dropout = Dropout(self.dropout_rate)
        self.out_proj = Linear(embed_dim, bias=self.use_bias, bias_initializer=zeros)

    def call(self, query, key=None, value=None, training=None):
        """Attends from query (N, L, C) to key (N, S, C, by default query) and value (key)."""
        key = query if key is None else key
        value = key if value is None else value
        weights = ops.split(ops.transpose(self.in_proj_weight), 3, 1)
        biases = ops.split(self.in_proj_bias, 3) if self.use_bias else (0, 0, 0)
        n, length, width = ops.shape(query)
        query, key, value = (
            ops.reshape(
                ops.matmul(x, weight) + bias, (n, -1, self.num_heads, width // self.num_heads)
            )
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        x = scaled_dot_product_attention(query, key, value, dropout=self.dropout, training=training)
        return self.out_proj(ops.reshape(x, (n, length, width)))
