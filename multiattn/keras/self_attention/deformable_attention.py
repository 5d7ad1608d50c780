from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from keras import ops
from keras.backend import result_type

from multiattn import checks
from multiattn.keras import nn


@lru_cache
def pixels(size: tuple[int, int], shift: float = 0.0) -> np.ndarray:
    """Each pixel's (y, x), -1 and 1 being the outermost, moved by a part of a pixel: (h, w, 2)."""
    rows, columns = (np.linspace(-1, 1, n) + 2 * shift / (n - 1) for n in size)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)


def folded(x, groups: int):
    """The groups of channels into the batch: (N, H, W, C) -> (N · groups, H, W, C / groups)."""
    n, height, width, channels = ops.shape(x)
    x = ops.reshape(x, (n, height, width, groups, channels // groups))
    return ops.reshape(ops.moveaxis(x, 3, 1), (-1, height, width, channels // groups))


class DeformableAttention(nn.Module):
    """Attention to keys and values that are sampled at predicted places of the map.

    "Vision Transformer with Deformable Attention", Xia et al., CVPR 2022.

    Args:
        num_heads: number of heads; a multiple of groups.
        feat_size: height and width of the input, at least 2.
        groups: of channels, each with its own places.
        stride: of the network that predicts the places' offsets: one place per stride.
        kernel_size: of that network; padded by half of it, or not at all if it is the stride.
        offset_range_factor: bounds the offsets, in places; if negative, offsets are free and
            places are kept within the map.
        pos_embed: what is added to the scores: "table" and "log_cpb" make it from the distance
            to each place, "fixed" is learned for each pair, None is nothing; "dwc" adds a
            depthwise convolution of the queries to the output instead.
        attn_dropout: rate of dropout of the attention weights.
        proj_dropout: rate of dropout of the output.

    Shape: (N, H, W, C) -> (N, H, W, C)

    Raises:
        ValueError: the input isn't of feat_size.
    """

    def __init__(
        self,
        num_heads: int,
        feat_size: Sequence[int],
        *,
        groups: int = 1,
        stride: int = 1,
        kernel_size: int = 3,
        offset_range_factor: float = -1,
        pos_embed: str | None = "table",
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, stride=stride, kernel_size=kernel_size)
        checks.divisible(self, by="groups", num_heads=num_heads, groups=groups)
        checks.choice(self, ("table", "dwc", "fixed", "log_cpb", None), pos_embed=pos_embed)
        checks.length(self, 2, feat_size=feat_size)
        padding = 0 if kernel_size == stride else kernel_size // 2
        places = tuple((size + 2 * padding - kernel_size) // stride + 1 for size in feat_size)
        if min(*feat_size, *places) < 2:
            checks.fail(self, f"feat_size ({tuple(feat_size)}) leaves {places} places, needs two")
        if pos_embed == "fixed" and places != tuple(size // stride for size in feat_size):
            checks.fail(self, f"pos_embed 'fixed' needs places {places} to be feat_size // stride")
        self.num_heads = num_heads
        self.feat_size = tuple(feat_size)
        self.places_size = places
        self.groups = groups
        self.stride = stride
        self.kernel_size = kernel_size
        self.padding = padding
        self.offset_range_factor = offset_range_factor
        self.pos_embed = pos_embed
        self.attn_dropout = attn_dropout
        self.proj_dropout = proj_dropout

    def setup(self, shape):
        channels = shape[-1]
        checks.divisible(self, by="num_heads", channels=channels, num_heads=self.num_heads)
        checks.sizes(self, self.feat_size, x=shape[1:3])
        height, width = self.feat_size
        width_of_group = channels // self.groups
        self.conv_offset = nn.Sequential(
            nn.Conv2d(
                width_of_group,
                self.kernel_size,
                stride=self.stride,
                padding=self.padding,
                groups=width_of_group,
            ),
            nn.LayerNorm(),
            nn.gelu,
            nn.Conv2d(2, 1, bias=False),
        )
        self.proj_q = nn.Conv2d(channels, 1)
        self.proj_k = nn.Conv2d(channels, 1)
        self.proj_v = nn.Conv2d(channels, 1)
        self.proj_out = nn.Conv2d(channels, 1)
        self.attn_drop = nn.Dropout(self.attn_dropout)
        self.proj_drop = nn.Dropout(self.proj_dropout)
        if self.pos_embed in ("table", "fixed"):
            table = (
                (2 * height - 1, 2 * width - 1)
                if self.pos_embed == "table"
                else (height * width, self.places_size[0] * self.places_size[1])
            )
            self.rpe_table = self.add_weight(
                name="rpe_table",
                shape=(self.num_heads, *table),
                initializer=nn.initializers.trunc_normal(0.01),
            )
        elif self.pos_embed == "dwc":
            self.rpe_table = nn.Conv2d(channels, 3, padding=1, groups=channels)
        elif self.pos_embed == "log_cpb":
            self.rpe_table = nn.Sequential(
                nn.Linear(32), nn.relu, nn.Linear(self.num_heads // self.groups, bias=False)
            )

    def places(self, queries, training=None):
        """Where each group samples, (N · groups, h, w, 2) as (y, x), with -1 and 1 at the ends."""
        offsets = self.conv_offset(folded(queries, self.groups), training=training)
        offsets = ops.cast(offsets, result_type(offsets.dtype, "float32"))
        # the last of them are beyond the map, as published
        references = ops.cast(pixels(self.places_size, 0.5), offsets.dtype)
        if self.offset_range_factor < 0:
            return ops.clip(references + offsets, -1, 1)
        bounds = self.offset_range_factor / np.subtract(self.places_size, 1)
        return references + nn.tanh(offsets) * ops.cast(bounds, offsets.dtype)

    def position_bias(self, places, dtype, training=None):
        """What is added to the scores, (N, heads, H · W, h · w) or (heads, H · W, h · w)."""
        if self.pos_embed == "fixed":
            return ops.cast(self.rpe_table, dtype)
        if self.pos_embed not in ("table", "log_cpb"):
            return None
        queries = ops.reshape(ops.cast(pixels(self.feat_size), places.dtype), (-1, 1, 2))
        count = self.places_size[0] * self.places_size[1]
        distances = queries - ops.reshape(
            places, (-1, 1, count, 2)
        )  # (N · groups, H · W, h · w, 2)
        heads = self.num_heads // self.groups
        if self.pos_embed == "table":
            height, width = self.rpe_table.shape[1:]
            tables = ops.reshape(self.rpe_table, (self.groups, heads, height, width))
            tables = ops.cast(ops.moveaxis(tables, 1, -1), places.dtype)
            tables = ops.tile(tables, (ops.shape(places)[0] // self.groups, 1, 1, 1))
            bias = nn.grid_sample(tables, ops.flip(distances, -1) / 2, align_corners=True)
        else:
            distances = ops.sign(distances) * ops.log(4 * ops.abs(distances) + 1) / np.log(8)
            bias = self.rpe_table(ops.cast(distances, dtype), training=training)
        bias = ops.reshape(ops.moveaxis(bias, -1, 1), (-1, self.num_heads, *distances.shape[1:3]))
        return ops.cast(bias, dtype)

    def call(self, x, training=None):
        n, height, width, channels = shape = ops.shape(x)
        checks.sizes(self, self.feat_size, x=(height, width))
        queries = self.proj_q(x)
        places = self.places(queries, training=training)
        samples = nn.grid_sample(folded(x, self.groups), ops.flip(places, -1), align_corners=True)
        rows, columns = self.places_size
        samples = ops.reshape(samples, (n, self.groups, rows, columns, channels // self.groups))
        samples = ops.reshape(ops.moveaxis(samples, 1, 3), (n, rows, columns, channels))
        heads = (
            ops.reshape(maps, (n, -1, self.num_heads, channels // self.num_heads))
            for maps in (queries, self.proj_k(samples), self.proj_v(samples))
        )
        context = nn.scaled_dot_product_attention(
            *heads,
            mask=self.position_bias(places, queries.dtype, training=training),
            dropout=self.attn_drop,
            training=training,
        )
        context = ops.reshape(context, shape)
        if self.pos_embed == "dwc":
            context = context + self.rpe_table(queries)
        return self.proj_drop(self.proj_out(context), training=training)
