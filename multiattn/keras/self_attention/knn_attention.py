from keras import ops

from multiattn import checks
from multiattn.keras import nn


class KNNAttention(nn.Module):
    """Multi-head self-attention in which each query keeps only its best scores.

    "KVT: k-NN Attention for Boosting Vision Transformers", Wang et al., ECCV 2022.

    Args:
        num_heads: number of heads.
        qkv_bias: bias of the queries, keys and values.
        attn_dropout: rate of dropout of the attention weights.
        proj_dropout: rate of dropout of the output.
        topk: how many keys each query attends to; all of them where there are fewer.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        *,
        num_heads: int = 8,
        qkv_bias: bool = False,
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        topk: int = 100,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, topk=topk)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.attn_dropout = attn_dropout
        self.proj_dropout = proj_dropout
        self.topk = topk

    def setup(self, shape):
        channels = shape[-1]
        checks.divisible(self, by="num_heads", channels=channels, num_heads=self.num_heads)
        initial = {
            "kernel_initializer": nn.initializers.trunc_normal(0.02),
            "bias_initializer": nn.initializers.zeros,
        }
        self.qkv = nn.Linear(3 * channels, bias=self.qkv_bias, **initial)
        self.attn_drop = nn.Dropout(self.attn_dropout)
        self.proj = nn.Linear(channels, **initial)
        self.proj_drop = nn.Dropout(self.proj_dropout)

    def call(self, x, training=None):
        n, length, channels = ops.shape(x)
        width = channels // self.num_heads
        qkv = ops.reshape(self.qkv(x), (n, length, 3, self.num_heads, width))
        queries, keys, values = ops.unstack(qkv, 3, 2)
        scores = ops.einsum("nlhd,nshd->nhls", queries * width**-0.5, keys)
        # ranks rather than a threshold: exactly topk stay, of equal scores too
        ranks = ops.argsort(ops.argsort(-scores))
        weights = nn.softmax(ops.where(ranks < self.topk, scores, -float("inf")))
        weights = self.attn_drop(weights, training=training)
        context = ops.einsum("nhls,nshd->nlhd", weights, values)
        context = self.proj(ops.reshape(context, (n, length, channels)))
        return self.proj_drop(context, training=training)
