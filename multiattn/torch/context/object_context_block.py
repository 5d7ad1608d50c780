import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import scaled_dot_product_attention


def conv_norm_relu(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


class ObjectContextBlock(nn.Module):
    """Object context: each position attends to a vector per class, from a coarse segmentation.

    "Object-Contextual Representations for Semantic Segmentation", Yuan et al., ECCV 2020.

    Args:
        in_channels: channels of the input.
        key_channels: channels of queries, keys and values.
        out_channels: channels of the output; None: in_channels.
        pool: max-pools the queries by this factor.
        dropout: rate of the channel dropout at the end.
        align_corners: of the interpolation back, if the queries are pooled.

    Shape:
        x (N, C, H, W), the scores of K classes before their softmax (N, K, H, W) ->
        (N, out_channels, H, W)

    Raises:
        ValueError: the scores have not the size of x.
    """

    def __init__(
        self,
        in_channels: int,
        key_channels: int,
        out_channels: int | None = None,
        *,
        pool: int = 1,
        dropout: float = 0.1,
        align_corners: bool = True,
    ):
        super().__init__()
        if out_channels is None:
            out_channels = in_channels
        checks.positive(self, in_channels=in_channels, key_channels=key_channels)
        checks.positive(self, out_channels=out_channels, pool=pool)
        self.pool = pool
        self.align_corners = align_corners
        self.f_pixel, self.f_object = (
            nn.Sequential(
                *conv_norm_relu(in_channels, key_channels),
                *conv_norm_relu(key_channels, key_channels),
            )
            for _ in range(2)
        )
        self.f_down = nn.Sequential(*conv_norm_relu(in_channels, key_channels))
        self.f_up = nn.Sequential(*conv_norm_relu(key_channels, in_channels))
        self.conv_bn_dropout = nn.Sequential(
            *conv_norm_relu(2 * in_channels, out_channels), nn.Dropout2d(dropout)
        )

    def forward(self, x: Tensor, logits: Tensor) -> Tensor:
        n, size = x.shape[0], x.shape[2:]
        checks.sizes(self, (n, *size), logits=(logits.shape[0], *logits.shape[2:]))
        masks = torch.softmax(logits.flatten(2), 2)
        regions = (x.flatten(2) @ masks.mT)[..., None]
        queries = self.f_pixel(x if self.pool == 1 else F.max_pool2d(x, self.pool))
        context = scaled_dot_product_attention(
            queries.flatten(2).mT,
            self.f_object(regions).flatten(2).mT,
            self.f_down(regions).flatten(2).mT,
        )
        context = self.f_up(context.mT.unflatten(2, queries.shape[2:]))
        if self.pool > 1:
            context = F.interpolate(
                context, size, mode="bilinear", align_corners=self.align_corners
            )
        return self.conv_bn_dropout(torch.cat([context, x], 1))
