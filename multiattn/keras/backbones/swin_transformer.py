from collections.abc import Sequence

from keras import ops

from multiattn import checks, constants
from multiattn.keras import nn

from .transformer import PatchEmbedding, TransformerMLP, linear


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for each relative position.

    Args:
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
        *,
        window_size: Sequence[int],
        num_heads: int,
        qkv_bias: bool,
        attn_dropout: float,
        proj_dropout: float,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.window_size = window_size
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.attn_dropout = nn.Dropout(attn_dropout)
        self.proj_dropout = nn.Dropout(proj_dropout)
        self.index = constants.relative_positions(window_size)

    def setup(self, shape):
        height, width = self.window_size
        self.relative_position_bias_table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * height - 1) * (2 * width - 1), self.num_heads),
            initializer=nn.initializers.trunc_normal(0.02),
        )
        self.qkv = linear(3 * shape[-1], bias=self.qkv_bias)
        self.proj = linear(shape[-1])

    def call(self, x, window_mask=None, training=None):
        windows, length, channels = ops.shape(x)
        shape = (windows, length, 3, self.num_heads, channels // self.num_heads)
        queries, keys, values = ops.unstack(ops.reshape(self.qkv(x), shape), axis=2)
        bias = ops.take(self.relative_position_bias_table, self.index, axis=0)
        bias = ops.transpose(bias, (2, 0, 1))[None]
        if window_mask is not None:
            bias = bias + ops.cast(window_mask, bias.dtype)[:, None]
            bias = ops.tile(bias, (windows // window_mask.shape[0], 1, 1, 1))
        attended = nn.scaled_dot_product_attention(
            queries, keys, values, mask=bias, dropout=self.attn_dropout, training=training
        )
        x = self.proj(ops.reshape(attended, (windows, length, channels)))
        return self.proj_dropout(x, training=training)


class SwinBlock(nn.Module):
    """A transformer block with its norms in front, whose attention is within windows.

    Args:
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.size = size
        self.window_size = window_size
        self.shift = shift
        self.margins = [(0, -n % w) for n, w in zip(size, window_size, strict=True)]
        self.mlp_ratio = mlp_ratio
        self.mlp_dropout = proj_dropout
        self.norm1 = nn.LayerNorm()
        self.attn = WindowAttention(
            window_size=window_size,
            num_heads=num_heads,
            qkv_bias=qkv_bias,
            attn_dropout=attn_dropout,
            proj_dropout=proj_dropout,
        )
        self.norm2 = nn.LayerNorm()
        self.drop_path = nn.DropPath(drop_path)
        self.mask = None
        if any(shift):
            padded = [n + more for n, (_, more) in zip(size, self.margins, strict=True)]
            self.mask = constants.shift_mask(padded, window_size, shift)

    def setup(self, shape):
        self.mlp = TransformerMLP(int(shape[-1] * self.mlp_ratio), dropout=self.mlp_dropout)

    def attend(self, x, training=None):
        """The attention within the shifted windows."""
        (height, width), (wh, ww), channels = self.size, self.window_size, x.shape[-1]
        if any(self.shift):
            x = ops.roll(x, [-s for s in self.shift], (1, 2))
        x = nn.pad(x, self.margins)
        rows, columns = -(-height // wh), -(-width // ww)
        x = ops.reshape(x, (-1, rows, wh, columns, ww, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, wh * ww, channels))
        x = self.attn(x, window_mask=self.mask, training=training)
        x = ops.reshape(x, (-1, rows, columns, wh, ww, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (-1, rows * wh, columns * ww, channels))[:, :height, :width]
        return ops.roll(x, self.shift, (1, 2)) if any(self.shift) else x

    def call(self, x, training=None):
        branch = self.attend(self.norm1(x), training=training)
        x = x + self.drop_path(branch, training=training)
        branch = self.mlp(self.norm2(x), training=training)
        return x + self.drop_path(branch, training=training)


class PatchMerging(nn.Module):
    """Joins each 2x2 neighbours to one, of which a linear map makes twice as many channels.

    Shape: (N, H, W, C) -> (N, ceil(H / 2), ceil(W / 2), 2 * C)
    """

    def setup(self, shape):
        self.norm = nn.LayerNorm()
        self.reduction = linear(2 * shape[-1], bias=False)

    def call(self, x):
        _, height, width, channels = x.shape
        x = nn.pad(x, ((0, height % 2), (0, width % 2)))
        rows, columns = (height + 1) // 2, (width + 1) // 2
        x = ops.reshape(x, (-1, rows, 2, columns, 2, channels))
        x = ops.transpose(x, (0, 1, 3, 4, 2, 5))
        return self.reduction(self.norm(ops.reshape(x, (-1, rows, columns, 4 * channels))))


class SwinStage(nn.Module):
    """Blocks, of which every second one has its windows moved, behind a merging of patches.

    Args:
        size: height and width of the output.
        merge: whether there is a merging; not in the first stage.
        window_size: height and width of the windows that are wanted.
        drop_path: of each of the blocks.
        **block: the other options of SwinBlock.

    Shape: (N, H, W, C) -> (N, H', W', C'), twice as wide behind a merging
    """

    def __init__(
        self,
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
        self.downsample = PatchMerging() if merge else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                SwinBlock(
                    size=size,
                    window_size=self.windows,
                    shift=shift if index % 2 else (0, 0),
                    drop_path=rate,
                    **block,
                )
                for index, rate in enumerate(drop_path)
            )
        )

    def call(self, x, training=None):
        return self.blocks(self.downsample(x), training=training)


class Classifier(nn.Module):
    """Dropout and a linear layer.

    Args:
        num_classes: outputs; 0 for no layer.
        dropout: before the layer.

    Shape: (N, C) -> (N, num_classes)
    """

    def __init__(self, num_classes: int, *, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.dropout = nn.Dropout(dropout)
        self.fc = linear(num_classes) if num_classes else nn.Identity()

    def call(self, x, training=None):
        return self.fc(self.dropout(x, training=training))


class SwinTransformer(nn.Module):
    """A pyramid of transformer stages whose attention is within windows that move.

    "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al., ICCV
    2021.

    Args:
        img_size: height and width of the images.
        patch_size: height and width of a patch; what remains of the image is left out.
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

    Shape: (N, H, W, channels) -> (N, num_classes), or (N, features)
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 4,
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, patch_size=patch_size)
        checks.positive(self, embed_dim=embed_dim, window_size=window_size, mlp_ratio=mlp_ratio)
        checks.nonempty(self, depths=depths)
        checks.length(self, len(depths), num_heads=num_heads)
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        checks.length(self, 2, img_size=self.img_size)
        self.features_only = features_only
        self.grid = tuple(n // patch_size for n in self.img_size)
        checks.positive(self, grid_height=self.grid[0], grid_width=self.grid[1])
        for stage, heads in enumerate(num_heads):
            checks.divisible(self, by="num_heads", num_heads=heads, channels=embed_dim * 2**stage)
        self.patch_size = patch_size
        self.num_classes = num_classes
        self.embed_dim = embed_dim
        self.depths = depths
        self.num_heads = num_heads
        self.dropout_rate = dropout
        self.drop_path = drop_path
        self.block_options = {
            "window_size": window_size,
            "mlp_ratio": mlp_ratio,
            "qkv_bias": qkv_bias,
            "proj_dropout": proj_dropout,
            "attn_dropout": attn_dropout,
        }

    def setup(self, shape):
        depths, size = self.depths, self.grid
        self.patch_embed = PatchEmbedding(self.embed_dim, patch_size=self.patch_size, eps=1e-5)
        rates = iter(constants.drop_path_rates(self.drop_path, sum(depths)))
        layers = []
        for stage, (depth, heads) in enumerate(zip(depths, self.num_heads, strict=True)):
            layers.append(
                SwinStage(
                    size=size,
                    merge=stage > 0,
                    drop_path=[next(rates) for _ in range(depth)],
                    num_heads=heads,
                    **self.block_options,
                )
            )
            size = tuple((n + 1) // 2 for n in size)
        self.layers = nn.ModuleList(layers)
        if not self.features_only:
            self.norm = nn.LayerNorm()
            self.head = Classifier(self.num_classes, dropout=self.dropout_rate)

    @nn.method
    def stage_features(self, x, training=None):
        """The maps of the stages, without a last norm."""
        checks.sizes(self, self.img_size, x=x.shape[1:3])
        x = self.patch_embed(x)
        features = []
        for layer in self.layers:
            x = layer(x, training=training)
            features.append(x)
        return features

    def call(self, x, training=None):
        features = self.stage_features(x, training=training)
        if self.features_only:
            return features
        return self.head(ops.mean(self.norm(features[-1]), (1, 2)), training=training)
