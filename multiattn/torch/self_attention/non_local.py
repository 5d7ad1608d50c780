import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import MaxPool1d, scaled_dot_product_attention

LAYERS = {
    1: (nn.Conv1d, nn.BatchNorm1d, MaxPool1d),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d),
}


class NonLocal(nn.Module):
    """Non-local block: adds to each position a weighted mean over all positions.

    "Non-local Neural Networks", Wang et al., CVPR 2018.

    Args:
        channels: channels of the input, and of the output.
        inter_channels: channels of queries, keys and values; None: max(1, channels // 2).
        mode: the pairwise function: "embedded_gaussian", "gaussian", "dot_product" or
            "concatenation".
        dimension: 1 for sequences, 2 for images, 3 for videos.
        sub_sample: max-pools keys and values by two in space (time is kept).
        bn_layer: batch norm behind the last projection.

    Shape: (N, C, L), (N, C, H, W) or (N, C, T, H, W) -> the same
    """

    def __init__(
        self,
        channels: int,
        *,
        inter_channels: int | None = None,
        mode: str = "embedded_gaussian",
        dimension: int = 2,
        sub_sample: bool = True,
        bn_layer: bool = True,
    ):
        super().__init__()
        checks.positive(self, channels=channels)
        checks.choice(
            self, ("embedded_gaussian", "gaussian", "dot_product", "concatenation"), mode=mode
        )
        checks.choice(self, (1, 2, 3), dimension=dimension)
        hidden = max(1, channels // 2) if inter_channels is None else inter_channels
        checks.positive(self, inter_channels=hidden)
        conv, norm, pool = LAYERS[dimension]
        self.mode = mode
        self.pool = pool((1, 2, 2) if dimension == 3 else 2) if sub_sample else nn.Identity()
        self.g = conv(channels, hidden, 1)
        if mode != "gaussian":
            self.theta = conv(channels, hidden, 1)
            self.phi = conv(channels, hidden, 1)
        if mode == "concatenation":
            self.concat_project = nn.Linear(2 * hidden, 1, bias=False)
        self.W = conv(hidden, channels, 1)
        self.bn = norm(channels) if bn_layer else nn.Identity()
        last = self.bn if bn_layer else self.W
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        def tokens(maps: Tensor) -> Tensor:
            return maps.flatten(2).mT

        values = tokens(self.pool(self.g(x)))
        if self.mode == "gaussian":
            queries, keys = tokens(x), tokens(self.pool(x))
        else:
            queries, keys = tokens(self.theta(x)), tokens(self.pool(self.phi(x)))
        if self.mode == "dot_product":
            context = queries @ (keys.mT @ values / keys.shape[1])
        elif self.mode == "concatenation":
            query_weight, key_weight = self.concat_project.weight.chunk(2, 1)
            scores = F.relu(F.linear(queries, query_weight) + F.linear(keys, key_weight).mT)
            context = scores @ values / keys.shape[1]
        else:
            context = scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return x + self.bn(self.W(context.mT.unflatten(2, x.shape[2:])))
