import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.channel.multi_scale_channel_attention import (
    global_attention,
    local_attention,
)


class AttentionalFeatureFusion(nn.Module):
    """Attentional feature fusion: a mean of two maps, weighted by attention to their sum.

    "Attentional Feature Fusion", Dai et al., WACV 2021.

    Args:
        channels: channels of the inputs, and of the output.
        reduction: the bottlenecks have channels // reduction channels, at least one.
        iterative: iAFF: a second attention looks at the result of the first fusion.
        share_global: the second attention has the first one's global branch, as in the authors'
            PyTorch code; only with iterative.

    Shape: (N, C, H, W), (N, C, H, W) -> (N, C, H, W)

    Raises:
        ValueError: the inputs have different shapes.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 4,
        iterative: bool = False,
        share_global: bool = False,
    ):
        super().__init__()
        if share_global and not iterative:
            checks.fail(self, "share_global (True) needs iterative (True)")
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.iterative = iterative
        self.share_global = share_global
        self.local_att = local_attention(channels, hidden)
        self.global_att = global_attention(channels, hidden)
        if iterative:
            self.local_att2 = local_attention(channels, hidden)
            if not share_global:
                self.global_att2 = global_attention(channels, hidden)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        checks.sizes(self, x.shape, residual=residual.shape)
        total = x + residual
        weight = torch.sigmoid(self.local_att(total) + self.global_att(total))
        fused = x * weight + residual * (1 - weight)
        if not self.iterative:
            return 2 * fused
        global_att = self.global_att if self.share_global else self.global_att2
        weight = torch.sigmoid(self.local_att2(fused) + global_att(fused))
        return x * weight + residual * (1 - weight)
