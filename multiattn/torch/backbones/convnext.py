from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks, constants
from multiattn.torch.nn import DropPath, LayerNorm2d


def trunc_normal(layer: nn.Module) -> None:
    """Draws a convolution or a linear layer: truncated normal of deviation 0.02, no bias."""
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)


def round_width(width: int) -> int:
    """The nearest multiple of 8, not less than nine tenths of the width."""
    rounded = max(8, (width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class GlobalResponseNorm(nn.Module):
    """Global response normalisation: each channel's norm, relative to the others', scales it.

    Args:
        channels: channels of the input, and of the output.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        norms = x.square().sum((1, 2), keepdim=True).sqrt()
        response = norms / (norms.mean(-1, keepdim=True) + 1e-6)
        return x + self.bias + self.weight * x * response


class ConvNeXtMLP(nn.Module):
    """Two linear layers over the channels, with a GELU between them.

    Args:
        channels: channels of the input, and of the output.
        use_grn: global response normalisation behind the GELU.
        conv_mlp: the layers' weights are those of 1x1 convolutions.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, channels: int, *, use_grn: bool, conv_mlp: bool):
        super().__init__()
        hidden = 4 * channels
        self.fc1 = nn.Conv2d(channels, hidden, 1) if conv_mlp else nn.Linear(channels, hidden)
        self.grn = GlobalResponseNorm(hidden) if use_grn else nn.Identity()
        self.fc2 = nn.Conv2d(hidden, channels, 1) if conv_mlp else nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.fc1.weight.flatten(1), self.fc1.bias)
        x = self.grn(F.gelu(x))
        return F.linear(x, self.fc2.weight.flatten(1), self.fc2.bias)


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, a norm and a two-layer network over the channels, added.

    Args:
        channels: channels of the input, and of the output.
        kernel_size: of the depthwise convolution.
        layer_scale: initial value of the factors of what is added; None for no factors.
        use_grn: see ConvNeXtMLP.
        conv_mlp: see ConvNeXtMLP.
        eps: of the norm.
        drop_path: the part of the samples to which nothing is added in training.

    Shape: (N, C, H, W) -> (N, C, H, W)
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
    ):
        super().__init__()
        self.conv_dw = nn.Conv2d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )
        self.norm = nn.LayerNorm(channels, eps)
        self.mlp = ConvNeXtMLP(channels, use_grn=use_grn, conv_mlp=conv_mlp)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale)) if layer_scale else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.mlp(self.norm(self.conv_dw(x).movedim(1, -1)))
        if self.gamma is not None:
            branch = branch * self.gamma
        return x + self.drop_path(branch.movedim(-1, 1))


class ConvNeXtStage(nn.Module):
    """A norm and a strided convolution where the shape changes, then blocks.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1 or 2.
        eps: of the norms.
        drop_path: of each of the blocks.
        **block: those of ConvNeXtBlock.

    Shape: (N, C, H, W) -> (N, O, H // stride, W // stride)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        eps: float,
        drop_path: Sequence[float],
        **block,
    ):
        super().__init__()
        self.downsample = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                LayerNorm2d(in_channels, eps),
                nn.Conv2d(in_channels, out_channels, stride, stride),
            )
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(out_channels, eps=eps, drop_path=rate, **block) for rate in drop_path)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class PreLogits(nn.Module):
    """A linear layer and a GELU, before the classifier.

    Args:
        in_channels: width of the input.
        out_channels: width of the output.

    Shape: (N, C) -> (N, O)
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.fc = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.fc(x))


class ConvNeXtHead(nn.Module):
    """The mean over all positions, a norm, and the classifier.

    Args:
        channels: channels of the input.
        num_classes: outputs; 0 for no classifier.
        norm: whether the norm is here.
        hidden_size: width of a layer before the classifier, or None.
        eps: of the norm.
        dropout: before the classifier.

    Shape: (N, C, H, W) -> (N, num_classes)
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
    ):
        super().__init__()
        features = hidden_size or channels
        self.norm = nn.LayerNorm(channels, eps) if norm else nn.Identity()
        self.pre_logits = PreLogits(channels, features) if hidden_size else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(features, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.pre_logits(self.norm(x.mean((2, 3))))))


class ConvNeXt(nn.Module):
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

    Shape: (N, in_channels, H, W) -> (N, num_classes), or (N, features)
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
    ):
        super().__init__()
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
        self.features_only = features_only
        channels = widths[0]
        if stem_type == "patch":
            layers = [nn.Conv2d(in_channels, channels, patch_size, patch_size)]
        else:
            middle = round_width(channels // 2) if stem_type == "overlap_tiered" else channels
            layers = [
                nn.Conv2d(in_channels, middle, 3, 2, 1),
                nn.Conv2d(middle, channels, 3, 2, 1),
            ]
        self.stem = nn.Sequential(*layers, LayerNorm2d(channels, norm_eps))
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
                )
            )
            channels = width
        if not features_only:
            self.norm_pre = LayerNorm2d(channels, norm_eps) if head_norm_first else nn.Identity()
            self.head = ConvNeXtHead(
                channels,
                num_classes,
                norm=not head_norm_first,
                hidden_size=head_hidden_size,
                eps=norm_eps,
                dropout=dropout,
            )
        self.apply(trunc_normal)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        """The maps of the stages, without a last norm."""
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        features = self.stage_features(x)
        return features if self.features_only else self.head(self.norm_pre(features[-1]))
