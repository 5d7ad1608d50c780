from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import neighbourhoods


class OutlookAttention(nn.Module):
    """Outlook attention: each position predicts how the values of its window are mixed.

    "VOLO: Vision Outlooker for Visual Recognition", Yuan et al., TPAMI 2022.

    Args:
        channels: channels of the input, and of the output; divisible by num_heads.
        num_heads: number of heads.
        kernel_size: of the windows; odd.
        stride: windows are centred at every stride-th position.
        qkv_bias: bias of the values.
        attn_dropout: rate of dropout of the attention weights.
        proj_dropout: rate of dropout of the output.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        qkv_bias: bool = False,
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
    ):
        super().__init__()
        checks.positive(self, channels=channels, stride=stride)
        checks.divisible(self, by="num_heads", num_heads=num_heads, channels=channels)
        checks.odd(self, kernel_size=kernel_size)
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.stride = stride
        self.scale = (channels // num_heads) ** -0.5
        self.v = nn.Linear(channels, channels, bias=qkv_bias)
        self.attn = nn.Linear(channels, kernel_size**4 * num_heads)
        self.attn_drop = nn.Dropout(attn_dropout)
        self.proj = nn.Linear(channels, channels)
        self.proj_drop = nn.Dropout(proj_dropout)
        for layer in (self.v, self.attn, self.proj):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        places, heads = self.kernel_size**2, self.num_heads
        windows: dict[str, Any] = {"padding": self.kernel_size // 2, "stride": self.stride}
        values = self.v(x.movedim(1, -1)).movedim(-1, 1)
        values = neighbourhoods(values, self.kernel_size, **windows)
        values = values.flatten(3).unflatten(1, (heads, -1))
        centres = F.avg_pool2d(x, self.stride, ceil_mode=True).flatten(2).mT
        attention = (self.scale * self.attn(centres)).unflatten(2, (heads, places, places))
        attention = self.attn_drop(torch.softmax(attention, -1))
        mixtures = torch.einsum("nmhij,nhdjm->nhdim", attention, values).flatten(1, 3)
        x = F.fold(mixtures, size, self.kernel_size, **windows)
        return self.proj_drop(self.proj(x.movedim(1, -1))).movedim(-1, 1)
