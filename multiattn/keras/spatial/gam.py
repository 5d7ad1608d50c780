from multiattn import checks
from multiattn.keras import nn


class GAM(nn.Module):
    """Global attention mechanism: a channel MLP at every pixel, then a full-size mask.

    "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions",
    Liu et al., arXiv 2021.

    Args:
        reduction: both bottlenecks have int(channels / reduction) channels, at least one.
        groups: of the 7x7 convolutions; more than one also shuffles the mask's channels. Divides
            channels and the bottleneck's channels.
        padding_mode: of the 7x7 convolutions: "replicate" or "zeros".

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        reduction: float = 4,
        groups: int = 1,
        padding_mode: str = "replicate",
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(self, ("replicate", "zeros"), padding_mode=padding_mode)
        self.reduction = reduction
        self.groups = groups
        self.padding_mode = padding_mode

    def setup(self, shape):
        channels, groups = shape[-1], self.groups
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        checks.divisible(self, by="groups", groups=groups, channels=channels, hidden=hidden)
        options = {"padding": 3, "groups": groups, "padding_mode": self.padding_mode}
        self.linear1 = nn.Linear(hidden)
        self.linear2 = nn.Linear(channels)
        self.conv1 = nn.Conv2d(hidden, 7, **options)
        self.norm1 = nn.BatchNorm()
        self.conv2 = nn.Conv2d(channels, 7, **options)
        self.norm2 = nn.BatchNorm()

    def call(self, x, training=None):
        x = x * self.linear2(nn.relu(self.linear1(x)))
        mask = nn.relu(self.norm1(self.conv1(x), training=training))
        mask = nn.sigmoid(self.norm2(self.conv2(mask), training=training))
        if self.groups > 1:
            mask = nn.channel_shuffle(mask, self.groups)
        return x * mask
