import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import neighbourhoods


class StandAloneSelfAttention(nn.Module):
    """Stand-alone self-attention: each pixel attends to its window, in place of a convolution.

    "Stand-Alone Self-Attention in Vision Models", Ramachandran et al., NeurIPS 2019.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; even, and divisible by groups.
        kernel_size: of the window; odd.
        groups: number of heads in mode "dot_product".
        bias: of the three projections; the input is padded before them.
        mode: "channel" (every channel has a softmax of its own, as in the port in general use) or
            "dot_product" (one per head, as in the paper).

    Shape: (N, in_channels, H, W) -> (N, out_channels, H, W)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 7,
        groups: int = 8,
        bias: bool = False,
        mode: str = "channel",
    ):
        super().__init__()
        checks.choice(self, ("channel", "dot_product"), mode=mode)
        checks.odd(self, kernel_size=kernel_size)
        checks.positive(self, in_channels=in_channels, out_channels=out_channels)
        checks.divisible(self, by="groups", groups=groups, out_channels=out_channels)
        if out_channels % 2:
            checks.fail(self, f"out_channels ({out_channels}) must be even")
        self.kernel_size = kernel_size
        self.num_heads = groups if mode == "dot_product" else out_channels
        self.rel_h = nn.Parameter(torch.randn(out_channels // 2, 1, 1, kernel_size, 1))
        self.rel_w = nn.Parameter(torch.randn(out_channels // 2, 1, 1, 1, kernel_size))
        self.key_conv = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.query_conv = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.value_conv = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        for conv in (self.key_conv, self.query_conv, self.value_conv):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        k = self.kernel_size
        padded = F.pad(x, (k // 2,) * 4)
        offsets = torch.cat([self.rel_h.expand(-1, 1, 1, k, k), self.rel_w.expand(-1, 1, 1, k, k)])
        queries = self.query_conv(x).unsqueeze(2)
        keys = neighbourhoods(self.key_conv(padded), k) + offsets.reshape(-1, k * k, 1, 1)
        values = neighbourhoods(self.value_conv(padded), k)
        queries, keys, values = (
            maps.unflatten(1, (self.num_heads, -1)) for maps in (queries, keys, values)
        )
        attention = torch.softmax((queries * keys).sum(2, keepdim=True), 3)
        return (attention * values).sum(3).flatten(1, 2)
