from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multiattn import checks

FUSIONS = ("channel_mul", "channel_add")


class GlobalContext(nn.Module):
    """Global context block: one vector pooled by attention, transformed, and fused everywhere.

    "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", Cao et al.,
    ICCVW 2019.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has channels // reduction channels, at least one.
        pooling: "att" (a softmax over all positions) or "avg".
        fusions: one or both of "channel_mul" (gates the channels) and "channel_add", which comes
            last in any case.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        pooling: str = "att",
        fusions: Sequence[str] = ("channel_add",),
    ):
        super().__init__()
        checks.choice(self, ("att", "avg"), pooling=pooling)
        checks.nonempty(self, fusions=fusions)
        for fusion in fusions:
            checks.choice(self, FUSIONS, fusions=fusion)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)

        def transform() -> nn.Sequential:
            layers = nn.Sequential(
                nn.Linear(channels, hidden),
                nn.LayerNorm(hidden),
                nn.ReLU(),
                nn.Linear(hidden, channels),
            )
            nn.init.zeros_(layers[3].weight)
            nn.init.zeros_(layers[3].bias)
            return layers

        self.conv_mask = nn.Conv2d(channels, 1, 1) if pooling == "att" else None
        self.channel_mul = transform() if "channel_mul" in fusions else None
        self.channel_add = transform() if "channel_add" in fusions else None
        if self.conv_mask is not None:
            nn.init.kaiming_normal_(self.conv_mask.weight, nonlinearity="relu")
            nn.init.zeros_(self.conv_mask.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv_mask is None:
            context = x.mean((2, 3))
        else:
            attention = torch.softmax(self.conv_mask(x).flatten(2), -1)
            context = (x.flatten(2) @ attention.mT).squeeze(2)
        if self.channel_mul is not None:
            x = x * torch.sigmoid(self.channel_mul(context))[:, :, None, None]
        if self.channel_add is not None:
            x = x + self.channel_add(context)[:, :, None, None]
        return x
