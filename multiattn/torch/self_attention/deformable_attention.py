from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import LayerNorm2d


def pixels(size: Sequence[int], like: Tensor, shift: float = 0.0) -> Tensor:
    """Each pixel's (y, x), -1 and 1 being the outermost, moved by a part of a pixel: (h, w, 2)."""
    rows, columns = (
        torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) + 2 * shift / (n - 1)
        for n in size
    )
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)


class DeformableAttention(nn.Module):
    """Attention to keys and values that are sampled at predicted places of the map.

    "Vision Transformer with Deformable Attention", Xia et al., CVPR 2022.

    Args:
        channels: channels of the input, and of the output; a multiple of num_heads.
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

    Shape: (N, C, H, W) -> (N, C, H, W)

    Raises:
        ValueError: the input isn't of feat_size.
    """

    def __init__(
        self,
        channels: int,
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
    ):
        super().__init__()
        checks.positive(self, channels=channels, stride=stride, kernel_size=kernel_size)
        checks.divisible(self, by="num_heads", channels=channels, num_heads=num_heads)
        checks.divisible(self, by="groups", num_heads=num_heads, groups=groups)
        checks.choice(self, ("table", "dwc", "fixed", "log_cpb", None), pos_embed=pos_embed)
        checks.length(self, 2, feat_size=feat_size)
        padding = 0 if kernel_size == stride else kernel_size // 2
        places = tuple((size + 2 * padding - kernel_size) // stride + 1 for size in feat_size)
        if min(*feat_size, *places) < 2:
            checks.fail(self, f"feat_size ({tuple(feat_size)}) leaves {places} places, needs two")
        if pos_embed == "fixed" and places != tuple(size // stride for size in feat_size):
            checks.fail(self, f"pos_embed 'fixed' needs places {places} to be feat_size // stride")
        height, width = feat_size
        width_of_group = channels // groups
        self.num_heads = num_heads
        self.feat_size = (height, width)
        self.groups = groups
        self.offset_range_factor = offset_range_factor
        self.pos_embed = pos_embed
        self.attn_dropout = attn_dropout
        self.conv_offset = nn.Sequential(
            nn.Conv2d(
                width_of_group,
                width_of_group,
                kernel_size,
                stride=stride,
                padding=padding,
                groups=width_of_group,
            ),
            LayerNorm2d(width_of_group),
            nn.GELU(),
            nn.Conv2d(width_of_group, 2, 1, bias=False),
        )
        self.proj_q = nn.Conv2d(channels, channels, 1)
        self.proj_k = nn.Conv2d(channels, channels, 1)
        self.proj_v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)
        self.proj_drop = nn.Dropout(proj_dropout)
        if pos_embed in ("table", "fixed"):
            shape = (
                (2 * height - 1, 2 * width - 1)
                if pos_embed == "table"
                else (height * width, places[0] * places[1])
            )
            self.rpe_table = nn.Parameter(torch.empty(num_heads, *shape))
            nn.init.trunc_normal_(self.rpe_table, std=0.01)
        elif pos_embed == "dwc":
            self.rpe_table = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        elif pos_embed == "log_cpb":
            self.rpe_table = nn.Sequential(
                nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, num_heads // groups, bias=False)
            )

    def places(self, queries: Tensor) -> Tensor:
        """Where each group samples, (N · groups, h, w, 2) as (y, x), with -1 and 1 at the ends."""
        offsets = self.conv_offset(queries.unflatten(1, (self.groups, -1)).flatten(0, 1))
        offsets = offsets.movedim(1, -1).to(torch.promote_types(offsets.dtype, torch.float32))
        height, width = size = offsets.shape[1:3]
        references = pixels(
            size, offsets, shift=0.5
        )  # the last of them beyond the map, as published
        if self.offset_range_factor < 0:
            return (references + offsets).clamp(-1, 1)
        y, x = (self.offset_range_factor * offsets.tanh()).unbind(-1)
        return references + torch.stack([y / (height - 1), x / (width - 1)], -1)

    def position_bias(self, places: Tensor, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores, (N, heads, H · W, h · w) or (heads, H · W, h · w)."""
        if self.pos_embed == "fixed":
            return self.rpe_table.to(dtype)
        if self.pos_embed not in ("table", "log_cpb"):
            return None
        queries = pixels(self.feat_size, places).reshape(-1, 1, 2)
        distances = queries - places.flatten(1, 2)[:, None]  # (N · groups, H · W, h · w, 2)
        if self.pos_embed == "table":
            tables = self.rpe_table.unflatten(0, (self.groups, -1)).to(places.dtype)
            tables = tables.repeat(places.shape[0] // self.groups, 1, 1, 1)
            bias = F.grid_sample(tables, distances.flip(-1) / 2, align_corners=True)
        else:
            distances = distances.sign() * (4 * distances.abs() + 1).log2() / 3
            bias = self.rpe_table(distances.to(dtype)).movedim(-1, 1)
        return bias.reshape(-1, self.num_heads, *bias.shape[2:]).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        checks.sizes(self, self.feat_size, x=x.shape[2:])
        queries = self.proj_q(x)
        places = self.places(queries)
        groups = x.unflatten(1, (self.groups, -1)).flatten(0, 1).to(places.dtype)
        samples = F.grid_sample(groups, places.flip(-1), align_corners=True).to(x.dtype)
        samples = samples.reshape(x.shape[0], -1, *samples.shape[2:])
        queries_of_heads, keys, values = (
            maps.flatten(2).unflatten(1, (self.num_heads, -1)).mT
            for maps in (queries, self.proj_k(samples), self.proj_v(samples))
        )
        context = F.scaled_dot_product_attention(
            queries_of_heads,
            keys,
            values,
            attn_mask=self.position_bias(places, queries.dtype),
            dropout_p=self.attn_dropout if self.training else 0.0,
        )
        context = context.mT.reshape(x.shape)
        if self.pos_embed == "dwc":
            context = context + self.rpe_table(queries)
        return self.proj_drop(self.proj_out(context))
