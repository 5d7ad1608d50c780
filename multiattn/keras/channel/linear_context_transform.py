from keras import ops

from multiattn import checks
from multiattn.keras import nn


class LinearContextTransform(nn.Module):
    """Linear context transform: gates each channel by its mean, standardised within its group.

    "Linear Context Transform Block", Ruan et al., AAAI 2020.

    Args:
        groups: groups of channels, whose number is divisible by it.
        eps: added to the variance within a group.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, groups: int = 64, eps: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, groups=groups)
        self.groups = groups
        self.eps = eps

    def setup(self, shape):
        checks.divisible(self, by="groups", groups=self.groups, channels=shape[-1])
        self.norm = nn.LayerNorm(eps=self.eps, scale=False, bias=False)
        self.weight = self.add_weight(
            name="weight", shape=shape[-1:], initializer=nn.initializers.zeros
        )
        self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer=nn.initializers.ones)

    def call(self, x, training=None):
        channels = x.shape[-1]
        context = ops.mean(x, (1, 2))
        context = ops.reshape(context, (-1, self.groups, channels // self.groups))
        context = ops.reshape(self.norm(context), (-1, channels))
        gate = nn.sigmoid(self.weight * context + self.bias)
        return x * gate[:, None, None, :]
