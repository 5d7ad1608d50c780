from keras import ops

from multiattn import checks
from multiattn.keras import nn
from multiattn.keras.channel.multi_scale_channel_attention import (
    global_attention,
    local_attention,
)


class AttentionalFeatureFusion(nn.Module):
    """Attentional feature fusion: a mean of two maps, weighted by attention to their sum.

    "Attentional Feature Fusion", Dai et al., WACV 2021.

    Args:
        reduction: the bottlenecks have channels // reduction channels, at least one.
        iterative: iAFF: a second attention looks at the result of the first fusion.
        share_global: the second attention has the first one's global branch, as in the authors'
            PyTorch code; only with iterative.

    Shape: (N, H, W, C), (N, H, W, C) -> (N, H, W, C)

    Raises:
        ValueError: the inputs have different shapes.
    """

    def __init__(
        self,
        *,
        reduction: int = 4,
        iterative: bool = False,
        share_global: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if share_global and not iterative:
            checks.fail(self, "share_global (True) needs iterative (True)")
        self.reduction = reduction
        self.iterative = iterative
        self.share_global = share_global

    def setup(self, x_shape, residual_shape):
        channels = x_shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.local_att = local_attention(channels, hidden)
        self.global_att = global_attention(channels, hidden)
        if self.iterative:
            self.local_att2 = local_attention(channels, hidden)
            if not self.share_global:
                self.global_att2 = global_attention(channels, hidden)

    def call(self, x, residual, training=None):
        mode = {"training": training}
        checks.sizes(self, ops.shape(x), residual=ops.shape(residual))
        total = x + residual
        weight = nn.sigmoid(self.local_att(total, **mode) + self.global_att(total, **mode))
        fused = x * weight + residual * (1 - weight)
        if not self.iterative:
            return 2 * fused
        global_att = self.global_att if self.share_global else self.global_att2
        weight = nn.sigmoid(self.local_att2(fused, **mode) + global_att(fused, **mode))
        return x * weight + residual * (1 - weight)
