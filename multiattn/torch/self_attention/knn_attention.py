import torch
from torch import Tensor, nn

from multiattn import checks


class KNNAttention(nn.Module):
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
    ):
        super().__init__()
        checks.positive(self, channels=channels, topk=topk)
        checks.divisible(self, by="num_heads", channels=channels, num_heads=num_heads)
        self.num_heads = num_heads
        self.topk = topk
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_dropout)
        self.proj = nn.Linear(channels, channels)
        self.proj_drop = nn.Dropout(proj_dropout)
        for layer in (self.qkv, self.proj):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.mT
        best, places = scores.topk(torch.sym_min(self.topk, x.shape[1]), sorted=False)
        weights = self.attn_drop(best.softmax(-1))
        attention = torch.zeros_like(scores, dtype=weights.dtype).scatter(-1, places, weights)
        context = attention @ values
        return self.proj_drop(self.proj(context.transpose(1, 2).flatten(2)))
