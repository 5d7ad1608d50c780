from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks, constants
from multiattn.flax import nn

# How convolutions and linear layers are drawn
DRAWN: dict[str, Any] = {
    "weight_init": nn.initializers.trunc_normal(0.02),
    "bias_init": nn.initializers.zeros,
}


def round_width(width: int) -> int:
    """The nearest multiple of 8, not less than nine tenths of the width."""
    rounded = max(8, (width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class GlobalResponseNorm(nnx.Module):
    """Global response normalisation: each channel's norm, relative to the others', scales it.

    Args:
        channels: channels of the input, and of the output.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        zeros = nn.initializers.zeros
        self.weight = nnx.Param(zeros(rngs.params(), (channels,), param_dtype))
        self.bias = nnx.Param(zeros(rngs.params(), (channels,), param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = nn.promote(self.dtype, x, self.weight, self.bias)
        norms = jnp.sqrt(jnp.square(x).sum((1, 2), keepdims=True))
        response = norms / (norms.mean(-1, keepdims=True) + 1e-6)
        return x + bias + weight * x * response


class ConvNeXtMLP(nnx.Module):
    """Two linear layers over the channels, with a GELU between them.

    Args:
        channels: channels of the input, and of the output.
        use_grn: global response normalisation behind the GELU.
        conv_mlp: the layers' weights are those of 1x1 convolutions.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        use_grn: bool,
        conv_mlp: bool,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        hidden = 4 * channels
        fc1, fc2 = (
            nn.Conv2d(inputs, outputs, 1, **DRAWN, **layer)
            if conv_mlp
            else nn.Linear(inputs, outputs, **DRAWN, **layer)
            for inputs, outputs in ((channels, hidden), (hidden, channels))
        )
        self.fc1 = fc1
        self.grn = GlobalResponseNorm(hidden, **layer) if use_grn else nn.Identity()
        self.fc2 = fc2

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(self.grn(nn.gelu(self.fc1(x))))


class ConvNeXtBlock(nnx.Module):
    """A depthwise convolution, a norm and a two-layer network over the channels, added.

    Args:
        channels: channels of the input, and of the output.
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
        channels: int,
        *,
        kernel_size: int,
        layer_scale: float | None,
        use_grn: bool,
        conv_mlp: bool,
        eps: float,
        drop_path: float,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        shape: dict[str, Any] = {"padding": kernel_size // 2, "groups": channels}
        self.conv_dw = nn.Conv2d(channels, channels, kernel_size, **shape, **DRAWN, **layer)
        self.norm = nn.LayerNorm(channels, eps=eps, **layer)
        self.mlp = ConvNeXtMLP(channels, use_grn=use_grn, conv_mlp=conv_mlp, **layer)
        gamma = None
        if layer_scale:
            constant = nn.initializers.constant(layer_scale)
            gamma = nnx.Param(constant(rngs.params(), (channels,), param_dtype))
        self.gamma = gamma
        self.drop_path = nn.DropPath(drop_path, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, gamma = nn.promote(self.dtype, x, self.gamma)
        branch = self.mlp(self.norm(self.conv_dw(x)))
        if gamma is not None:
            branch = branch * gamma
        return x + self.drop_path(branch)


class ConvNeXtStage(nnx.Module):
    """A norm and a strided convolution where the shape changes, then blocks.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1 or 2.
        eps: of the norms.
        drop_path: of each of the blocks.
        **block: those of ConvNeXtBlock.

    Shape: (N, H, W, C) -> (N, H // stride, W // stride, O)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        eps: float,
        drop_path: Sequence[float],
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
        **block,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        downsample = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            downsample = nn.Sequential(
                nn.LayerNorm(in_channels, eps=eps, **layer),
                nn.Conv2d(in_channels, out_channels, stride, stride=stride, **DRAWN, **layer),
            )
        self.downsample = downsample
        self.blocks = nn.Sequential(
            *(
                ConvNeXtBlock(out_channels, eps=eps, drop_path=rate, **block, **layer)
                for rate in drop_path
            )
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.blocks(self.downsample(x))


class PreLogits(nnx.Module):
    """A linear layer and a GELU, before the classifier.

    Args:
        in_channels: width of the input.
        out_channels: width of the output.

    Shape: (N, C) -> (N, O)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.fc = nn.Linear(in_channels, out_channels, **DRAWN, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.gelu(self.fc(x))


class ConvNeXtHead(nnx.Module):
    """The mean over all positions, a norm, and the classifier.

    Args:
        channels: channels of the input.
        num_classes: outputs; 0 for no classifier.
        norm: whether the norm is here.
        hidden_size: width of a layer before the classifier, or None.
        eps: of the norm.
        dropout: before the classifier.

    Shape: (N, H, W, C) -> (N, num_classes)
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        norm: bool,
        hidden_size: int | None,
        eps: float,
        dropout: float,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        features = hidden_size or channels
        identity = nn.Identity()
        self.norm = nn.LayerNorm(channels, eps=eps, **layer) if norm else identity
        self.pre_logits = PreLogits(channels, features, **layer) if hidden_size else identity
        self.dropout = nn.Dropout(dropout, rngs=rngs)
        self.fc = nn.Linear(features, num_classes, **DRAWN, **layer) if num_classes else identity

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc(self.dropout(self.pre_logits(self.norm(x.mean((1, 2))))))


class ConvNeXt(nnx.Module):
    """A residual network of depthwise convolutions, in the proportions of a Swin transformer.

    "A ConvNet for the 2020s", Liu et al., CVPR 2022. With use_grn and without layer_scale it is
    "ConvNeXt V2", Woo et al., CVPR 2023.

    Args:
        in_channels: channels of the images.
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

    Shape: (N, H, W, in_channels) -> (N, num_classes), or (N, features)
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
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
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels)
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
        self.dtype = dtype
        self.features_only = features_only
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        channels = widths[0]
        if stem_type == "patch":
            layers = [
                nn.Conv2d(in_channels, channels, patch_size, stride=patch_size, **DRAWN, **layer)
            ]
        else:
            middle = round_width(channels // 2) if stem_type == "overlap_tiered" else channels
            shape: dict[str, Any] = {"stride": 2, "padding": 1}
            layers = [
                nn.Conv2d(in_channels, middle, 3, **shape, **DRAWN, **layer),
                nn.Conv2d(middle, channels, 3, **shape, **DRAWN, **layer),
            ]
        self.stem = nn.Sequential(*layers, nn.LayerNorm(channels, eps=norm_eps, **layer))
        halves = stem_type == "patch" and patch_size == 2
        rates = iter(constants.drop_path_rates(drop_path, sum(depths)))
        self.stages = nn.ModuleList()
        for stage, (depth, width, size) in enumerate(zip(depths, widths, kernels, strict=True)):
            self.stages.append(
                ConvNeXtStage(
                    channels,
                    width,
                    stride=2 if stage or halves else 1,
                    eps=norm_eps,
                    drop_path=[next(rates) for _ in range(depth)],
                    kernel_size=size,
                    layer_scale=layer_scale,
                    use_grn=use_grn,
                    conv_mlp=conv_mlp,
                    **layer,
                )
            )
            channels = width
        if not features_only:
            last = nn.LayerNorm(channels, eps=norm_eps, **layer)
            self.norm_pre = last if head_norm_first else nn.Identity()
            self.head = ConvNeXtHead(
                channels,
                num_classes,
                norm=not head_norm_first,
                hidden_size=head_hidden_size,
                eps=norm_eps,
                dropout=dropout,
                **layer,
            )

    def stage_features(self, x: jax.Array) -> list[jax.Array]:
        """The maps of the stages, without a last norm."""
        x = self.stem(nn.promote(self.dtype, x))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def __call__(self, x: jax.Array) -> jax.Array | list[jax.Array]:
        features = self.stage_features(x)
        return features if self.features_only else self.head(self.norm_pre(features[-1]))
