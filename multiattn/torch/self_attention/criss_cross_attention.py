import torch
from torch import Tensor, nn

from multiattn import checks


class CrissCrossAttention(nn.Module):
    """Criss-cross attention: each position attends to its column and its row, added by a factor.

    "CCNet: Criss-Cross Attention for Semantic Segmentation", Huang et al., ICCV 2019.

    Args:
        channels: channels of the input, and of the output.
        reduction: queries and keys have channels // reduction channels, at least one.
        recurrence: how often the whole is applied, with the same weights; after two times every
            position has seen every other.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int, *, reduction: int = 8, recurrence: int = 1):
        super().__init__()
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        checks.positive(self, recurrence=recurrence)
        self.recurrence = recurrence
        self.query_conv = nn.Conv2d(channels, hidden, 1)
        self.key_conv = nn.Conv2d(channels, hidden, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def attend(self, x: Tensor) -> Tensor:
        """What each position gathers from its column and its row, (N, C, H, W)."""
        queries, keys, values = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        height, width = x.shape[2:]
        rows = torch.arange(height, device=x.device)
        # the position itself is in its row already
        column_scores = torch.einsum("ncyx,ncjx->nyxj", queries, keys).masked_fill(
            rows[:, None, None] == rows, -torch.inf
        )
        row_scores = torch.einsum("ncyx,ncyi->nyxi", queries, keys)
        attention = torch.softmax(torch.cat([column_scores, row_scores], -1), -1)
        column, row = attention.split([height, width], -1)
        return torch.einsum("nyxj,ncjx->ncyx", column, values) + torch.einsum(
            "nyxi,ncyi->ncyx", row, values
        )

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.recurrence):
            x = self.gamma * self.attend(x) + x
        return x
