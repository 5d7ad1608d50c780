from collections.abc import Sequence
from typing import Any

from keras import ops

from multiattn import checks, constants
from multiattn.keras import nn

# How convolutions and linear layers are drawn
DRAWN: dict[str, Any] = {
    "kernel_initializer": nn.initializers.trunc_normal(0.02),
    "bias_initializer": nn.initializers.zeros,
}


def round_width(width: int) -> int:
    """The nearest multiple of 8, not less than nine tenths of the width."""
    rounded = max(8, (width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class GlobalResponseNorm(nn.Module):
    """Global response normalisation: each channel's norm, relative to the others', scales it.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def setup(self, shape):
        zeros = nn.initializers.zeros
        self.weight = self.add_weight(name="weight", shape=shape[-1:], initializer=zeros)
        self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer=zeros)

    def call(self, x):
        norms = ops.sqrt(ops.sum(ops.square(x), (1, 2), keepdims=True))
        response = norms / (ops.mean(norms, -1, keepdims=True) + 1e-6)
        return x + self.bias + self.weight * x * response


class ConvNeXtMLP(nn.Module):
    """Two linear layers over the channels, with a GELU between them.

    Args:
        use_grn: global response normalisation behind the GELU.
        conv_mlp: the layers' weights are those of 1x1 convolutions.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, use_grn: bool, conv_mlp: bool, **kwargs):
        super().__init__(**kwargs)
        self.use_grn = use_grn
        self.conv_mlp = conv_mlp

    def setup(self, shape):
        channels = shape[-1]
        hidden = 4 * channels
        fc1, fc2 = (
            nn.Conv2d(n, 1, **DRAWN) if self.conv_mlp else nn.Linear(n, **DRAWN)
            for n in (hidden, channels)
        )
        self.fc1 = fc1
        self.grn = GlobalResponseNorm() if self.use_grn else nn.Identity()
        self.fc2 = fc2

    def call(self, x):
        return self.fc2(self.grn(nn.gelu(self.fc1(x))))


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, a norm and a two-layer network over the channels, added.

    Args:
        kernel_size: of the depthwise convolution.
        layer_scale: initial value of the factors of what is added; None for no factors.
        use_grn: see ConvNeXtMLP.
        conv_mlp: see ConvNeXtMLP.
        eps: of the norm.
        drop_path: the part of the samples to which nothing is added in training.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        kernel_size: int,
        layer_scale: float | None,
        use_grn: bool,
        conv_mlp: bool,
        eps: float,
        drop_path: float,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.layer_scale = layer_scale
        self.norm = nn.LayerNorm(eps=eps)
        self.mlp = ConvNeXtMLP(use_grn=use_grn, conv_mlp=conv_mlp)
        self.drop_path = nn.DropPath(drop_path)

    def setup(self, shape):
        channels = shape[-1]
        self.conv_dw = nn.Conv2d(
            channels,
            self.kernel_size,
            padding=self.kernel_size // 2,
            groups=channels,
            **DRAWN,
        )
        self.gamma = None
        if self.layer_scale:
            constant = nn.initializers.constant(self.layer_scale)
            self.gamma = self.add_weight(name="gamma", shape=(channels,), initializer=constant)

    def call(self, x, training=None):
        branch = self.mlp(self.norm(self.conv_dw(x)))
        if self.gamma is not None:
            branch = branch * self.gamma
        return x + self.drop_path(branch, training=training)


class ConvNeXtStage(nn.Module):
    """A norm and a strided convolution where the shape changes, then blocks.

    Args:
        out_channels: channels of the output.
        stride: 1 or 2.
        eps: of the norms.
        drop_path: of each of the blocks.
        **block: those of ConvNeXtBlock.

    Shape: (N, H, W, C) -> (N, H // stride, W // stride, O)
    """

    def __init__(
        self,
        out_channels: int,
        *,
        stride: int,
        eps: float,
        drop_path: Sequence[float],
        **block,
    ):
        super().__init__()
        self.out_channels = out_channels
        self.stride = stride
        self.eps = eps
        self.rates = drop_path
        self.block_options = block

    def setup(self, shape):
        self.downsample = nn.Identity()
        if self.stride > 1 or shape[-1] != self.out_channels:
            self.downsample = nn.Sequential(
                nn.LayerNorm(eps=self.eps),
                nn.Conv2d(self.out_channels, self.stride, stride=self.stride, **DRAWN),
            )
        self.blocks = nn.Sequential(
            *(
                ConvNeXtBlock(eps=self.eps, drop_path=rate, **self.block_options)
                for rate in self.rates
            )
        )

    def call(self, x, training=None):
        return self.blocks(self.downsample(x, training=training), training=training)


class PreLogits(nn.Module):
    """A linear layer and a GELU, before the classifier.

    Args:
        out_channels: width of the output.

    Shape: (N, C) -> (N, O)
    """

    def __init__(self, out_channels: int, **kwargs):
        super().__init__(**kwargs)
        self.fc = nn.Linear(out_channels, **DRAWN)

    def call(self, x):
        return nn.gelu(self.fc(x))


class ConvNeXtHead(nn.Module):
    """The mean over all positions, a norm, and the classifier.

    Args:
        num_classes: outputs; 0 for no classifier.
        norm: whether the norm is here.
        hidden_size: width of a layer before the classifier, or None.
        eps: of the norm.
        dropout: before the classifier.

    Shape: (N, H, W, C) -> (N, num_classes)
    """

    def __init__(
        self,
        num_classes: int,
        *,
        norm: bool,
        hidden_size: int | None,
        eps: float,
        dropout: float,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.norm = nn.LayerNorm(eps=eps) if norm else nn.Identity()
        self.pre_logits = PreLogits(hidden_size) if hidden_size else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(num_classes, **DRAWN) if num_classes else nn.Identity()

    def call(self, x, training=None):
        x = self.pre_logits(self.norm(ops.mean(x, (1, 2))))
        return self.fc(self.dropout(x, training=training))


class ConvNeXt(nn.Module):
    """A residual network of depthwise convolutions, in the proportions of a Swin transformer.

    "A ConvNet for the 2020s", Liu et al., CVPR 2022. With use_grn and without layer_scale it is
    "ConvNeXt V2", Woo et al., CVPR 2023.

    Args:
        num_classes: outputs of the classifier; 0 for none, which gives the pooled features.
        depths: blocks of each stage.
        widths: channels of each stage.
        kernel_size: of the depthwise convolutions, or one of each stage; odd.
        layer_scale: initial value of the blocks' factors; None or 0 for no factors.
        use_grn: global response normalisation in the blocks.
        stem_type: "patch" for one strided convolution, "overlap" or "overlap_tiered" for two of
            3x3.
        patch_size: 4 or 2: kernel and stride of the patch stem; after 2 the first stage strides.
        conv_mlp: the blocks' linear layers are kept as 1x1 convolutions.
        head_norm_first: the last norm is before the mean over the positions.
        head_hidden_size: width of a layer before the classifier, or None.
        norm_eps: of all layer norms.
        dropout: before the classifier.
        drop_path: the part of the samples to which a block adds nothing in training, growing
            from block to block up to this.
        features_only: a call gives what stage_features gives; there is no classifier.

    Shape: (N, H, W, channels) -> (N, num_classes), or (N, features)
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        depths: Sequence[int] = (3, 3, 9, 3),
        widths: Sequence[int] = (96, 192, 384, 768),
        kernel_size: int | Sequence[int] = 7,
        layer_scale: float | None = 1e-6,
        use_grn: bool = False,
        stem_type: str = "patch",
        patch_size: int = 4,
        conv_mlp: bool = False,
        head_norm_first: bool = False,
        head_hidden_size: int | None = None,
        norm_eps: float = 1e-6,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        features_only: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.nonempty(self, depths=depths)
        checks.length(self, len(depths), widths=widths)
        checks.positive(self, widths=widths)
        checks.choice(self, ("patch", "overlap", "overlap_tiered"), stem_type=stem_type)
        checks.choice(self, (4, 2), patch_size=patch_size)
        if head_norm_first and head_hidden_size:
            checks.fail(self, "head_norm_first and head_hidden_size exclude each other")
        kernels = [kernel_size] * len(depths) if isinstance(kernel_size, int) else kernel_size
        checks.length(self, len(depths), kernel_size=kernels)
        for size in kernels:
            checks.odd(self, kernel_size=size)
        self.num_classes = num_classes
        self.depths = depths
        self.widths = widths
        self.kernels = kernels
        self.stem_type = stem_type
        self.patch_size = patch_size
        self.head_norm_first = head_norm_first
        self.head_hidden_size = head_hidden_size
        self.norm_eps = norm_eps
        self.dropout_rate = dropout
        self.drop_path = drop_path
        self.features_only = features_only
        self.block_options = {"layer_scale": layer_scale, "use_grn": use_grn, "conv_mlp": conv_mlp}

    def setup(self, shape):
        channels, depths = self.widths[0], self.depths
        if self.stem_type == "patch":
            size = self.patch_size
            layers = [nn.Conv2d(channels, size, stride=size, **DRAWN)]
        else:
            tiered = self.stem_type == "overlap_tiered"
            middle = round_width(channels // 2) if tiered else channels
            shape = {"stride": 2, "padding": 1}
            layers = [nn.Conv2d(n, 3, **shape, **DRAWN) for n in (middle, channels)]
        self.stem = nn.Sequential(*layers, nn.LayerNorm(eps=self.norm_eps))
        halves = self.stem_type == "patch" and self.patch_size == 2
        rates = iter(constants.drop_path_rates(self.drop_path, sum(depths)))
        stages = []
        for stage, (depth, width, size) in enumerate(
            zip(depths, self.widths, self.kernels, strict=True)
        ):
            stages.append(
                ConvNeXtStage(
                    width,
                    stride=2 if stage or halves else 1,
                    eps=self.norm_eps,
                    drop_path=[next(rates) for _ in range(depth)],
                    kernel_size=size,
                    **self.block_options,
                )
            )
        self.stages = nn.ModuleList(stages)
        if not self.features_only:
            norm_pre = nn.LayerNorm(eps=self.norm_eps) if self.head_norm_first else nn.Identity()
            self.norm_pre = norm_pre
            self.head = ConvNeXtHead(
                self.num_classes,
                norm=not self.head_norm_first,
                hidden_size=self.head_hidden_size,
                eps=self.norm_eps,
                dropout=self.dropout_rate,
            )

    @nn.method
    def stage_features(self, x, training=None):
        """The maps of the stages, without a last norm."""
        x = self.stem(x, training=training)
        features = []
        for stage in self.stages:
            x = stage(x, training=training)
            features.append(x)
        return features

    def call(self, x, training=None):
        features = self.stage_features(x, training=training)
        if self.features_only:
            return features
        return self.head(self.norm_pre(features[-1]), training=training)
