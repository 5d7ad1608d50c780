import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import scaled_dot_product_attention


class GroundingTransform(nn.Module):
    """FPT's grounding transformer: each position of a fine map attends to a coarser map.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        channels: channels of both inputs, and of the output.
        inner_channels: channels of queries, keys and values; None: channels // 2.
        mode: the pairwise function: "dot", "embedded" (softmax), "gaussian" (softmax over the
            inputs themselves) or "concatenate".

    Shape: low (N, C, H, W), high (N, C, h, w) -> (N, C, H, W)
    """

    def __init__(self, channels: int, *, inner_channels: int | None = None, mode: str = "dot"):
        super().__init__()
        hidden = channels // 2 if inner_channels is None else inner_channels
        checks.positive(self, channels=channels, inner_channels=hidden)
        checks.choice(self, ("dot", "embedded", "gaussian", "concatenate"), mode=mode)
        self.mode = mode
        self.g = nn.Conv2d(channels, hidden, 1)
        if mode != "gaussian":
            self.theta = nn.Conv2d(channels, hidden, 1)
            self.phi = nn.Conv2d(channels, hidden, 1)
        if mode == "concatenate":
            self.W_f = nn.Linear(2 * hidden, 1)
        self.W_z = nn.Sequential(nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.W_z[1].weight)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        checks.sizes(self, low.shape[1:2], high=high.shape[1:2])

        def tokens(maps: Tensor) -> Tensor:
            return maps.flatten(2).mT

        values = tokens(self.g(high))
        if self.mode == "gaussian":
            queries, keys = tokens(low), tokens(high)
        else:
            queries, keys = tokens(self.theta(low)), tokens(self.phi(high))
        if self.mode == "dot":
            context = queries @ (keys.mT @ values / keys.shape[1])
        elif self.mode == "concatenate":
            query_weight, key_weight = self.W_f.weight.chunk(2, 1)
            scores = F.linear(queries, query_weight, self.W_f.bias)
            scores = F.relu(scores + F.linear(keys, key_weight).mT)
            context = scores @ values / keys.shape[1]
        else:
            context = scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return self.W_z(context.mT.unflatten(2, low.shape[2:]))
