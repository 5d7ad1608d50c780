from collections.abc import Sequence

from keras import ops

from multiattn import checks
from multiattn.keras import nn

FUSIONS = ("channel_mul", "channel_add")


class GlobalContext(nn.Module):
    """Global context block: one vector pooled by attention, transformed, and fused everywhere.

    "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", Cao et al.,
    ICCVW 2019.

    Args:
        reduction: the bottleneck has channels // reduction channels, at least one.
        pooling: "att" (a softmax over all positions) or "avg".
        fusions: one or both of "channel_mul" (gates the channels) and "channel_add", which comes
            last in any case.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        reduction: int = 16,
        pooling: str = "att",
        fusions: Sequence[str] = ("channel_add",),
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(self, ("att", "avg"), pooling=pooling)
        checks.nonempty(self, fusions=fusions)
        for fusion in fusions:
            checks.choice(self, FUSIONS, fusions=fusion)
        self.reduction = reduction
        self.pooling = pooling
        self.fusions = tuple(fusions)

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        zeros = nn.initializers.zeros

        def transform() -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(hidden),
                nn.LayerNorm(),
                nn.relu,
                nn.Linear(channels, kernel_initializer=zeros, bias_initializer=zeros),
            )

        mask_init = {
            "kernel_initializer": nn.initializers.kaiming_normal(),
            "bias_initializer": zeros,
        }
        self.conv_mask = nn.Conv2d(1, 1, **mask_init) if self.pooling == "att" else None
        self.channel_mul = transform() if "channel_mul" in self.fusions else None
        self.channel_add = transform() if "channel_add" in self.fusions else None

    def call(self, x, training=None):
        if self.conv_mask is None:
            context = ops.mean(x, (1, 2))
        else:
            n, channels = ops.shape(x)[0], x.shape[-1]
            attention = nn.softmax(ops.reshape(self.conv_mask(x), (n, -1)))
            context = ops.einsum("np,npc->nc", attention, ops.reshape(x, (n, -1, channels)))
        if self.channel_mul is not None:
            gate = nn.sigmoid(self.channel_mul(context, training=training))
            x = x * gate[:, None, None, :]
        if self.channel_add is not None:
            x = x + self.channel_add(context, training=training)[:, None, None, :]
        return x
