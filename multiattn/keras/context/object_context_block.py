from typing import Any

from keras import ops

from multiattn import checks
from multiattn.keras import nn


def conv_norm_relu(out_channels: int) -> list[Any]:
    return [nn.Conv2d(out_channels, 1, bias=False), nn.BatchNorm(), nn.relu]


class ObjectContextBlock(nn.Module):
    """Object context: each position attends to a vector per class, from a coarse segmentation.

    "Object-Contextual Representations for Semantic Segmentation", Yuan et al., ECCV 2020.

    Args:
        key_channels: channels of queries, keys and values.
        out_channels: channels of the output; None: in_channels.
        pool: max-pools the queries by this factor.
        dropout: rate of the channel dropout at the end.
        align_corners: of the interpolation back, if the queries are pooled.

    Shape:
        x (N, H, W, C), the scores of K classes before their softmax (N, H, W, K) ->
        (N, H, W, out_channels)

    Raises:
        ValueError: the scores have not the size of x.
    """

    def __init__(
        self,
        key_channels: int,
        out_channels: int | None = None,
        *,
        pool: int = 1,
        dropout: float = 0.1,
        align_corners: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, key_channels=key_channels, pool=pool)
        if out_channels is not None:
            checks.positive(self, out_channels=out_channels)
        self.key_channels = key_channels
        self.out_channels = out_channels
        self.pool = pool
        self.dropout = dropout
        self.align_corners = align_corners

    def setup(self, x_shape, logits_shape):
        in_channels = x_shape[-1]
        out_channels = in_channels if self.out_channels is None else self.out_channels
        self.f_pixel, self.f_object = (
            nn.Sequential(*conv_norm_relu(self.key_channels), *conv_norm_relu(self.key_channels))
            for _ in range(2)
        )
        self.f_down = nn.Sequential(*conv_norm_relu(self.key_channels))
        self.f_up = nn.Sequential(*conv_norm_relu(in_channels))
        self.conv_bn_dropout = nn.Sequential(
            *conv_norm_relu(out_channels), nn.Dropout2d(self.dropout)
        )

    def call(self, x, logits, training=None):
        mode = {"training": training}
        n, *size, channels = ops.shape(x)
        checks.sizes(self, (n, *size), logits=ops.shape(logits)[:3])
        masks = nn.softmax(ops.reshape(logits, (n, -1, logits.shape[-1])), 1)
        regions = ops.swapaxes(masks, 1, 2) @ ops.reshape(x, (n, -1, channels))
        regions = regions[:, :, None]
        queries = self.f_pixel(x if self.pool == 1 else nn.max_pool(x, self.pool), **mode)
        context = nn.scaled_dot_product_attention(
            ops.reshape(queries, (n, -1, 1, self.key_channels)),
            self.f_object(regions, **mode),
            self.f_down(regions, **mode),
        )
        context = self.f_up(ops.reshape(context, ops.shape(queries)), **mode)
        if self.pool > 1:
            context = nn.interpolate(
                context, size, mode="bilinear", align_corners=self.align_corners
            )
        return self.conv_bn_dropout(ops.concatenate([context, x], -1), **mode)
