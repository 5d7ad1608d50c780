from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks, constants
from multiattn.torch.nn import DropPath

from .transformer import PatchEmbedding, TransformerMLP, trunc_normal


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for each relative position.

    Args:
        channels: width of the tokens.
        window_size: height and width of the windows.
        num_heads: heads; divides channels.
        qkv_bias: biases of queries, keys and values.
        attn_dropout: on the attention weights.
        proj_dropout: on the output.

    Shape:
        (B, L, C) -> (B, L, C) for B images times windows of L places; window_mask, which is added
        to the scores, is (windows, L, L) or None
    """

    def __init__(
        self,
        channels: int,
        *,
        window_size: Sequence[int],
        num_heads: int,
        qkv_bias: bool,
        attn_dropout: float,
        proj_dropout: float,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.attn_dropout = attn_dropout
        height, width = window_size
        self.relative_position_bias_table = nn.Parameter(
            nn.init.trunc_normal_(
                torch.empty((2 * height - 1) * (2 * width - 1), num_heads), std=0.02
            )
        )
        index = torch.from_numpy(constants.relative_positions(window_size))
        self.register_buffer("index", index, persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.proj_dropout = nn.Dropout(proj_dropout)

    def forward(self, x: Tensor, window_mask: Tensor | None) -> Tensor:
        windows, length, channels = x.shape
        qkv = self.qkv(x).reshape(windows, length, 3, self.num_heads, -1)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)[None]
        if window_mask is not None:
            bias = (bias + window_mask[:, None]).repeat(windows // window_mask.shape[0], 1, 1, 1)
        attended = F.scaled_dot_product_attention(
            queries, keys, values, bias, self.attn_dropout if self.training else 0.0
        )
        x = attended.transpose(1, 2).reshape(windows, length, channels)
        return self.proj_dropout(self.proj(x))


class SwinBlock(nn.Module):
    """A transformer block with its norms in front, whose attention is within windows.

    Args:
        channels: width of the tokens.
        size: height and width of the map.
        window_size: height and width of the windows.
        shift: how far the windows are moved along each axis.
        num_heads: heads; divides channels.
        mlp_ratio: the two-layer network is so many times as wide inside.
        qkv_bias: biases of queries, keys and values.
        proj_dropout: on the output of the attention, and in the network.
        attn_dropout: on the attention weights.
        drop_path: the part of the samples whose branches are dropped in training.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        size: Sequence[int],
        window_size: Sequence[int],
        shift: Sequence[int],
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        proj_dropout: float,
        attn_dropout: float,
        drop_path: float,
    ):
        super().__init__()
        self.window_size = window_size
        self.shift = shift
        self.padding = [-n % w for n, w in zip(size, window_size, strict=True)]
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(
            channels,
            window_size=window_size,
            num_heads=num_heads,
            qkv_bias=qkv_bias,
            attn_dropout=attn_dropout,
            proj_dropout=proj_dropout,
        )
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = TransformerMLP(channels, int(channels * mlp_ratio), dropout=proj_dropout)
        self.drop_path = DropPath(drop_path)
        mask = None
        if any(shift):
            padded = [n + more for n, more in zip(size, self.padding, strict=True)]
            mask = torch.from_numpy(constants.shift_mask(padded, window_size, shift)).float()
        self.register_buffer("mask", mask, persistent=False)

    def attend(self, x: Tensor) -> Tensor:
        """The attention within the shifted windows."""
        n, height, width, channels = x.shape
        (wh, ww), (down, right) = self.window_size, self.padding
        if any(self.shift):
            x = x.roll([-s for s in self.shift], (1, 2))
        if down or right:
            x = F.pad(x, (0, 0, 0, right, 0, down))
        rows, columns = x.shape[1] // wh, x.shape[2] // ww
        x = x.reshape(n, rows, wh, columns, ww, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, wh * ww, channels), self.mask)
        x = x.reshape(n, rows, columns, wh, ww, channels).transpose(2, 3)
        x = x.reshape(n, rows * wh, columns * ww, channels)[:, :height, :width]
        return x.roll(self.shift, (1, 2)) if any(self.shift) else x

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Joins each 2x2 neighbours to one, of which a linear map makes twice as many channels.

    Args:
        channels: of the input.

    Shape: (N, H, W, C) -> (N, ceil(H / 2), ceil(W / 2), 2 * C)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = x.reshape(n, x.shape[1] // 2, 2, x.shape[2] // 2, 2, channels)
        return self.reduction(self.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class SwinStage(nn.Module):
    """Blocks, of which every second one has its windows moved, behind a merging of patches.

    Args:
        channels: of the output.
        size: height and width of the output.
        merge: whether there is a merging; not in the first stage.
        window_size: height and width of the windows that are wanted.
        drop_path: of each of the blocks.
        **block: the other options of SwinBlock.

    Shape: (N, H, W, C) -> (N, H', W', channels)
    """

    def __init__(
        self,
        channels: int,
        *,
        size: Sequence[int],
        merge: bool,
        window_size: int,
        drop_path: Sequence[float],
        **block,
    ):
        super().__init__()
        self.windows = tuple(min(window_size, n) for n in size)
        shift = tuple(0 if n <= window_size else window_size // 2 for n in size)
        self.downsample = PatchMerging(channels // 2) if merge else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                SwinBlock(
                    channels,
                    size=size,
                    window_size=self.windows,
                    shift=shift if index % 2 else (0, 0),
                    drop_path=rate,
                    **block,
                )
                for index, rate in enumerate(drop_path)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Classifier(nn.Module):
    """Dropout and a linear layer.

    Args:
        channels: width of the input.
        num_classes: outputs; 0 for no layer.
        dropout: before the layer.

    Shape: (N, C) -> (N, num_classes)
    """

    def __init__(self, channels: int, num_classes: int, *, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(x))


class SwinTransformer(nn.Module):
    """A pyramid of transformer stages whose attention is within windows that move.

    "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al., ICCV
    2021.

    Args:
        img_size: height and width of the images.
        patch_size: height and width of a patch; what remains of the image is left out.
        in_channels: channels of the images.
        num_classes: outputs of the classifier; 0 for none, which gives the pooled features.
        embed_dim: channels of the first stage; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: heads of each stage; divides its channels.
        window_size: height and width of the windows, where the map is larger.
        mlp_ratio: the blocks' two-layer networks are so many times as wide inside.
        qkv_bias: biases of queries, keys and values.
        dropout: on the pooled features.
        proj_dropout: on the output of the attentions, and in the two-layer networks.
        attn_dropout: on the attention weights.
        drop_path: the part of the samples whose branches are dropped in training, growing from
            block to block up to this.
        features_only: a call gives what stage_features gives; there is no classifier.

    Shape: (N, in_channels, H, W) -> (N, num_classes), or (N, features)
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 4,
        in_channels: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        proj_dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        features_only: bool = False,
    ):
        super().__init__()
        checks.positive(self, in_channels=in_channels, patch_size=patch_size)
        checks.positive(self, embed_dim=embed_dim, window_size=window_size, mlp_ratio=mlp_ratio)
        checks.nonempty(self, depths=depths)
        checks.length(self, len(depths), num_heads=num_heads)
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        checks.length(self, 2, img_size=self.img_size)
        self.features_only = features_only
        size = tuple(n // patch_size for n in self.img_size)
        checks.positive(self, grid_height=size[0], grid_width=size[1])
        self.patch_embed = PatchEmbedding(in_channels, embed_dim, patch_size=patch_size, eps=1e-5)
        rates = iter(constants.drop_path_rates(drop_path, sum(depths)))
        self.layers = nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            channels = embed_dim * 2**stage
            checks.divisible(self, by="num_heads", num_heads=heads, channels=channels)
            self.layers.append(
                SwinStage(
                    channels,
                    size=size,
                    merge=stage > 0,
                    window_size=window_size,
                    drop_path=[next(rates) for _ in range(depth)],
                    num_heads=heads,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    proj_dropout=proj_dropout,
                    attn_dropout=attn_dropout,
                )
            )
            size = tuple((n + 1) // 2 for n in size)
        if not features_only:
            self.norm = nn.LayerNorm(channels)
            self.head = Classifier(channels, num_classes, dropout=dropout)
        self.apply(trunc_normal)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        """The maps of the stages, without a last norm."""
        return [stage.permute(0, 3, 1, 2) for stage in self.stages(x)]

    def stages(self, x: Tensor) -> list[Tensor]:
        """The maps of the stages, channels last."""
        checks.sizes(self, self.img_size, x=x.shape[2:])
        x = self.patch_embed(x)
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        if self.features_only:
            return self.stage_features(x)
        return self.head(self.norm(self.stages(x)[-1]).mean((1, 2)))
