from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks, constants
from multiattn.torch.nn import DropPath

from .plug import Options, per_stage, plug


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """A convolution that keeps the size but for its stride."""
    padding = dilation * (kernel_size // 2)
    layer = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class MeanPool(nn.Module):
    """The mean of 2x2 places: of those that exist, or at stride 1 with zeros beyond the edge.

    Args:
        stride: 1 keeps the size.

    Shape: (N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, 1)
        return F.avg_pool2d(x, 2, self.stride, ceil_mode=True, count_include_pad=False)


class ResidualBlock(nn.Module):
    """A branch, which is a subclass's, added to the input or what brings it to the same shape.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the block.
        dilation: of the stage.
        first_dilation: of the stage before, which a first block's 3x3 convolution keeps.
        down_kernel_size: of the shortcut's convolution where it strides.
        avg_down: the shortcut strides by a mean pool.
        bias: biases of the convolutions.
        eps: of the norms.
        se: the end of the branch, or None.
        drop_path: the part of the samples whose branch is dropped in training.

    Shape: (N, C, H, W) -> (N, O, H', W')
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        dilation: int,
        first_dilation: int,
        down_kernel_size: int,
        avg_down: bool,
        bias: bool,
        eps: float,
        se: nn.Module | None,
        drop_path: float,
    ):
        super().__init__()
        self.stride = stride
        self.dilation = dilation
        self.first_dilation = first_dilation
        self.bias = bias
        self.eps = eps
        self.se = se
        self.drop_path = DropPath(drop_path)
        downsample = None
        if stride != 1 or in_channels != out_channels:
            unchanged = stride == dilation == 1
            if avg_down:
                layers = [nn.Identity() if unchanged else MeanPool(stride)]
                kernel_size, stride = 1, 1
            else:
                layers, kernel_size = [], 1 if unchanged else down_kernel_size
            shape: dict[str, Any] = {"stride": stride, "dilation": first_dilation, "bias": bias}
            layers.append(conv(in_channels, out_channels, kernel_size, **shape))
            downsample = nn.Sequential(*layers, nn.BatchNorm2d(out_channels, eps))
        self.downsample = downsample

    def branch(self, x: Tensor) -> Tensor:
        """What is added."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        if self.se is not None:
            branch = self.se(branch)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.drop_path(branch) + shortcut, inplace=True)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions.

    Args:
        in_channels: channels of the input.
        planes: channels of the output.
        reduce_first: divides the width between the convolutions.
        attend: makes the attention module of a position in the block, for so many channels.
        **residual: those of ResidualBlock.

    Shape: (N, C, H, W) -> (N, planes, H', W')
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        reduce_first: int,
        attend: Callable[..., nn.Module | None],
        **residual,
    ):
        super().__init__(in_channels, planes, se=attend("residual", planes), **residual)
        width = planes // reduce_first
        first: dict[str, Any] = {"stride": self.stride, "dilation": self.first_dilation}
        self.conv1 = conv(in_channels, width, 3, **first, bias=self.bias)
        self.bn1 = nn.BatchNorm2d(width, self.eps)
        self.conv2 = conv(width, planes, 3, dilation=self.dilation, bias=self.bias)
        self.bn2 = nn.BatchNorm2d(planes, self.eps)
        nn.init.zeros_(self.bn2.weight)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.bn2(self.conv2(x))


class Bottleneck(ResidualBlock):
    """A 3x3 convolution between two of 1x1, the last four times as wide.

    Args:
        in_channels: channels of the input.
        planes: base width; the output has four times as many channels.
        cardinality: groups of the 3x3 convolution.
        base_width: channels of a group where planes is 64.
        reduce_first: divides the width behind the first convolution.
        stride_on_1x1: the first convolution strides, not the second.
        attend: makes the attention module of a position in the block, for so many channels.
        **residual: those of ResidualBlock.

    Shape: (N, C, H, W) -> (N, 4 * planes, H', W')
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        cardinality: int,
        base_width: int,
        reduce_first: int,
        stride_on_1x1: bool,
        attend: Callable[..., nn.Module | None],
        **residual,
    ):
        super().__init__(in_channels, 4 * planes, se=attend("residual", 4 * planes), **residual)
        width = planes * base_width // 64 * cardinality
        first, middle = (self.stride, 1) if stride_on_1x1 else (1, self.stride)
        grouped: dict[str, Any] = {"dilation": self.first_dilation, "groups": cardinality}
        self.conv1 = conv(in_channels, width // reduce_first, 1, stride=first, bias=self.bias)
        self.bn1 = nn.BatchNorm2d(width // reduce_first, self.eps)
        self.conv2 = attend("conv2", width, stride=middle) or conv(
            width // reduce_first, width, 3, stride=middle, **grouped, bias=self.bias
        )
        self.bn2 = nn.BatchNorm2d(width, self.eps)
        self.conv3 = conv(width, 4 * planes, 1, bias=self.bias)
        self.bn3 = nn.BatchNorm2d(4 * planes, self.eps)
        nn.init.zeros_(self.bn3.weight)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return self.bn3(self.conv3(x))


class ResNet(nn.Module):
    """A residual network: four stages of blocks that each add a branch to their input.

    "Deep Residual Learning for Image Recognition", He et al., CVPR 2016; with grouped (ResNeXt)
    and wide bottlenecks, the tweaks of ResNet-C and -D, dilated stages, and any attention module.

    Args:
        in_channels: channels of the images.
        num_classes: outputs of the classifier; 0 for none, which gives the pooled features.
        block: "basic" or "bottleneck".
        depths: blocks of each of the four stages.
        widths: base width of each stage, which has as many channels, or four times if of
            bottlenecks.
        cardinality: groups of a bottleneck's 3x3 convolution.
        base_width: channels of a group where the stage's base width is 64.
        stem_width: channels of the stem; a deep one ends with twice as many.
        stem_type: "" for a 7x7 convolution, "deep" or "deep_tiered" for three of 3x3.
        stem_pool: "max", "max_ceil" (Caffe's: windows hang over the edge) or "conv".
        block_reduce_first: divides the width behind a block's first convolution.
        down_kernel_size: of a shortcut's convolution where it strides; odd.
        avg_down: shortcuts stride by a mean pool (ResNet-D).
        output_stride: 32, 16 or 8: stages that would go beyond are dilated instead.
        stride_on_1x1: bottlenecks stride in their first convolution (Caffe, Keras).
        conv_bias: biases of the convolutions (Keras).
        norm_eps: of the batch norms.
        attention: a module that keeps its input's shape, by its name or as a class.
        attention_options: its options, or a list of those for each stage.
        attention_position: "residual": last in each block's branch; "conv2": in place of each
            bottleneck's 3x3 convolution; "stage": behind each stage but the fourth.
        attention_stages: the stages that have it.
        dropout: on the pooled features.
        drop_path: the part of the samples whose branch is dropped in training, growing from
            block to block up to this.
        features_only: a call gives what stage_features gives; there is no classifier.

    Shape: (N, in_channels, H, W) -> (N, num_classes), or (N, features)
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        block: str = "bottleneck",
        depths: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        cardinality: int = 1,
        base_width: int = 64,
        stem_width: int = 64,
        stem_type: str = "",
        stem_pool: str = "max",
        block_reduce_first: int = 1,
        down_kernel_size: int = 1,
        avg_down: bool = False,
        output_stride: int = 32,
        stride_on_1x1: bool = False,
        conv_bias: bool = False,
        norm_eps: float = 1e-5,
        attention: str | type[nn.Module] | None = None,
        attention_options: Options = None,
        attention_position: str = "residual",
        attention_stages: Sequence[int] = (1, 2, 3, 4),
        dropout: float = 0.0,
        drop_path: float = 0.0,
        features_only: bool = False,
    ):
        super().__init__()
        checks.positive(
            self,
            in_channels=in_channels,
            cardinality=cardinality,
            base_width=base_width,
            stem_width=stem_width,
            block_reduce_first=block_reduce_first,
        )
        checks.choice(self, ("basic", "bottleneck"), block=block)
        checks.choice(self, ("", "deep", "deep_tiered"), stem_type=stem_type)
        checks.choice(self, ("max", "max_ceil", "conv"), stem_pool=stem_pool)
        checks.choice(self, (32, 16, 8), output_stride=output_stride)
        checks.odd(self, down_kernel_size=down_kernel_size)
        checks.length(self, 4, depths=depths, widths=widths)
        places = ["residual", "stage"] if block == "basic" else ["residual", "conv2", "stage"]
        checks.choice(self, places, attention_position=attention_position)
        if block == "basic" and (cardinality, base_width) != (1, 64):
            checks.fail(self, "basic blocks have neither cardinality nor base_width")
        if stem_type == "deep_tiered" and stem_width < 4:
            checks.fail(self, f"stem_width ({stem_width}) must be at least 4 in a deep_tiered stem")
        for planes in widths:
            inner = {"inner width": planes * base_width // 64 * cardinality // block_reduce_first}
            checks.positive(self, widths=planes, **inner)
            checks.divisible(self, by="cardinality", cardinality=cardinality, **inner)
        if attention and attention_position == "conv2" and block_reduce_first != 1:
            checks.fail(self, "attention_position 'conv2' needs block_reduce_first 1")
        for stage in attention_stages:
            checks.choice(self, (1, 2, 3, 4), attention_stages=stage)
        self.ceil_mode = stem_pool == "max_ceil"
        self.features_only = features_only
        attention_options = per_stage(attention_options, 4)
        checks.length(self, 4, attention_options=attention_options)

        def attend(stage: int, position: str, width: int, **more: int) -> nn.Module | None:
            if attention and position == attention_position and stage in attention_stages:
                return plug(attention, width, **more, **attention_options[stage - 1])
            return None

        bias: dict[str, Any] = {"bias": conv_bias}
        if stem_type == "":
            channels = stem_width
            self.conv1 = conv(in_channels, channels, 7, stride=2, **bias)
        else:
            channels = 2 * stem_width
            first = stem_width if stem_type == "deep" else 3 * (stem_width // 4)
            self.conv1 = nn.Sequential(
                conv(in_channels, first, 3, stride=2, **bias),
                nn.BatchNorm2d(first, norm_eps),
                nn.ReLU(inplace=True),
                conv(first, stem_width, 3, **bias),
                nn.BatchNorm2d(stem_width, norm_eps),
                nn.ReLU(inplace=True),
                conv(stem_width, channels, 3, **bias),
            )
        self.bn1 = nn.BatchNorm2d(channels, norm_eps)
        maxpool = None
        if stem_pool == "conv":
            maxpool = nn.Sequential(
                conv(channels, channels, 3, stride=2, **bias),
                nn.BatchNorm2d(channels, norm_eps),
                nn.ReLU(inplace=True),
            )
        self.maxpool = maxpool

        more: dict[str, Any] = {
            "bias": conv_bias,
            "eps": norm_eps,
            "reduce_first": block_reduce_first,
        }
        more |= {"down_kernel_size": down_kernel_size, "avg_down": avg_down}
        if block == "bottleneck":
            more |= {"cardinality": cardinality, "base_width": base_width}
            more |= {"stride_on_1x1": stride_on_1x1}
        cls = BasicBlock if block == "basic" else Bottleneck
        expansion = 1 if block == "basic" else 4
        rates = iter(constants.drop_path_rates(drop_path, sum(depths)))
        reached, dilation = 4, 1
        for stage, (depth, planes) in enumerate(zip(depths, widths, strict=True), 1):
            stride, first_dilation = (1 if stage == 1 else 2), dilation
            if reached >= output_stride:
                stride, dilation = 1, dilation * stride
            reached *= stride
            blocks = nn.Sequential()
            for _ in range(depth):
                shape: dict[str, Any] = {
                    "stride": stride,
                    "dilation": dilation,
                    "first_dilation": first_dilation,
                }
                place = partial(attend, stage)
                options: dict[str, Any] = {"attend": place, "drop_path": next(rates), **more}
                blocks.append(cls(channels, planes, **shape, **options))
                channels, stride, first_dilation = planes * expansion, 1, dilation
            setattr(self, f"layer{stage}", blocks)
            if stage < 4:
                setattr(self, f"attn{stage}", attend(stage, "stage", channels))
        self.dropout = nn.Dropout(dropout)
        head = num_classes and not features_only
        self.fc = nn.Linear(channels, num_classes) if head else None

    def stage_features(self, x: Tensor) -> list[Tensor]:
        """The stem's map, of half the size, and those of the four stages."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        features = [x]
        if self.maxpool is None:
            x = F.max_pool2d(x, 3, 2, 0 if self.ceil_mode else 1, ceil_mode=self.ceil_mode)
        else:
            x = self.maxpool(x)
        for layer, attention in (
            (self.layer1, self.attn1),
            (self.layer2, self.attn2),
            (self.layer3, self.attn3),
            (self.layer4, None),
        ):
            x = layer(x)
            if attention is not None:
                x = attention(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        features = self.stage_features(x)
        if self.features_only:
            return features
        x = self.dropout(features[-1].mean((2, 3)))
        return x if self.fc is None else self.fc(x)
