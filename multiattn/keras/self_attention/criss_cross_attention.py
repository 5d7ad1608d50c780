from keras import ops

from multiattn import checks
from multiattn.keras import nn


class CrissCrossAttention(nn.Module):
    """Criss-cross attention: each position attends to its column and its row, added by a factor.

    "CCNet: Criss-Cross Attention for Semantic Segmentation", Huang et al., ICCV 2019.

    Args:
        reduction: queries and keys have channels // reduction channels, at least one.
        recurrence: how often the whole is applied, with the same weights; after two times every
            position has seen every other.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, reduction: int = 8, recurrence: int = 1, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, recurrence=recurrence)
        self.reduction = reduction
        self.recurrence = recurrence

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.query_conv = nn.Conv2d(hidden, 1)
        self.key_conv = nn.Conv2d(hidden, 1)
        self.value_conv = nn.Conv2d(channels, 1)
        self.gamma = self.add_weight(name="gamma", shape=(1,), initializer=nn.initializers.zeros)

    def attend(self, x):
        """What each position gathers from its column and its row, (N, H, W, C)."""
        queries, keys, values = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        height = ops.shape(x)[1]
        rows = ops.arange(height, dtype="int32")
        # the position itself is in its row already
        column_scores = ops.where(
            rows[:, None, None] == rows,
            -float("inf"),
            ops.einsum("nyxc,njxc->nyxj", queries, keys),
        )
        row_scores = ops.einsum("nyxc,nyic->nyxi", queries, keys)
        attention = nn.softmax(ops.concatenate([column_scores, row_scores], -1))
        column, row = attention[..., :height], attention[..., height:]
        return ops.einsum("nyxj,njxc->nyxc", column, values) + ops.einsum(
            "nyxi,nyic->nyxc", row, values
        )

    def call(self, x, training=None):
        for _ in range(self.recurrence):
            x = self.gamma * self.attend(x) + x
        return x
