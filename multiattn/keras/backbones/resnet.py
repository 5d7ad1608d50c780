from collections.abc import Callable, Sequence
from functools import partial

from keras import ops

from multiattn import checks, constants
from multiattn.keras import nn

from .plug import Options, per_stage, plug


def conv(
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """A convolution that keeps the size but for its stride."""
    return nn.Conv2d(
        out_channels,
        kernel_size,
        stride=stride,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        groups=groups,
        bias=bias,
        kernel_initializer=nn.initializers.kaiming_normal("fan_out"),
    )


class MeanPool(nn.Module):
    """The mean of 2x2 places: of those that exist, or at stride 1 with zeros beyond the edge.

    Args:
        stride: 1 keeps the size.

    Shape: (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), C)
    """

    def __init__(self, stride: int, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, x):
        if self.stride == 1:
            return nn.avg_pool(nn.pad(x, ((0, 1), (0, 1))), 2, stride=1)
        return nn.avg_pool(x, 2, stride=self.stride, ceil_mode=True, count_include_pad=False)


class ResidualBlock(nn.Module):
    """A branch, which is a subclass's, added to the input or what brings it to the same shape.

    Args:
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

    Shape: (N, H, W, C) -> (N, H', W', O)
    """

    def __init__(
        self,
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_channels = out_channels
        self.stride = stride
        self.dilation = dilation
        self.first_dilation = first_dilation
        self.down_kernel_size = down_kernel_size
        self.avg_down = avg_down
        self.bias = bias
        self.eps = eps
        self.se = se
        self.drop_path = nn.DropPath(drop_path)

    def setup(self, shape):
        downsample = None
        if self.stride != 1 or shape[-1] != self.out_channels:
            stride, unchanged = self.stride, self.stride == self.dilation == 1
            if self.avg_down:
                layers = [nn.Identity() if unchanged else MeanPool(stride)]
                kernel_size, stride = 1, 1
            else:
                layers, kernel_size = [], 1 if unchanged else self.down_kernel_size
            shape = {
                "stride": stride,
                "dilation": self.first_dilation,
                "bias": self.bias,
            }
            layers.append(conv(self.out_channels, kernel_size, **shape))
            downsample = nn.Sequential(*layers, nn.BatchNorm(eps=self.eps))
        self.downsample = downsample

    def branch(self, x, training=None):
        """What is added."""
        raise NotImplementedError

    def call(self, x, training=None):
        branch = self.branch(x, training=training)
        if self.se is not None:
            branch = self.se(branch, training=training)
        shortcut = x if self.downsample is None else self.downsample(x, training=training)
        return nn.relu(self.drop_path(branch, training=training) + shortcut)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions.

    Args:
        planes: channels of the output.
        reduce_first: divides the width between the convolutions.
        attend: makes the attention module of a position in the block.
        **residual: those of ResidualBlock.

    Shape: (N, H, W, C) -> (N, H', W', planes)
    """

    def __init__(
        self,
        planes: int,
        *,
        reduce_first: int,
        attend: Callable[..., nn.Module | None],
        **residual,
    ):
        super().__init__(planes, se=attend("residual"), **residual)
        self.width = planes // reduce_first

    def setup(self, shape):
        super().setup(shape)
        first = {"stride": self.stride, "dilation": self.first_dilation}
        self.conv1 = conv(self.width, 3, **first, bias=self.bias)
        self.bn1 = nn.BatchNorm(eps=self.eps)
        self.conv2 = conv(self.out_channels, 3, dilation=self.dilation, bias=self.bias)
        self.bn2 = nn.BatchNorm(eps=self.eps, gamma_initializer=nn.initializers.zeros)

    def branch(self, x, training=None):
        x = nn.relu(self.bn1(self.conv1(x), training=training))
        return self.bn2(self.conv2(x), training=training)


class Bottleneck(ResidualBlock):
    """A 3x3 convolution between two of 1x1, the last four times as wide.

    Args:
        planes: base width; the output has four times as many channels.
        cardinality: groups of the 3x3 convolution.
        base_width: channels of a group where planes is 64.
        reduce_first: divides the width behind the first convolution.
        stride_on_1x1: the first convolution strides, not the second.
        attend: makes the attention module of a position in the block.
        **residual: those of ResidualBlock.

    Shape: (N, H, W, C) -> (N, H', W', 4 * planes)
    """

    def __init__(
        self,
        planes: int,
        *,
        cardinality: int,
        base_width: int,
        reduce_first: int,
        stride_on_1x1: bool,
        attend: Callable[..., nn.Module | None],
        **residual,
    ):
        super().__init__(4 * planes, se=attend("residual"), **residual)
        self.cardinality = cardinality
        self.width = planes * base_width // 64 * cardinality
        self.first_width = self.width // reduce_first
        self.strides = (self.stride, 1) if stride_on_1x1 else (1, self.stride)
        self.conv2 = attend("conv2", stride=self.strides[1])

    def setup(self, shape):
        super().setup(shape)
        grouped = {"dilation": self.first_dilation, "groups": self.cardinality}
        first, middle = self.strides
        self.conv1 = conv(self.first_width, 1, stride=first, bias=self.bias)
        self.bn1 = nn.BatchNorm(eps=self.eps)
        self.conv2 = self.conv2 or conv(self.width, 3, stride=middle, **grouped, bias=self.bias)
        self.bn2 = nn.BatchNorm(eps=self.eps)
        self.conv3 = conv(self.out_channels, 1, bias=self.bias)
        self.bn3 = nn.BatchNorm(eps=self.eps, gamma_initializer=nn.initializers.zeros)

    def branch(self, x, training=None):
        x = nn.relu(self.bn1(self.conv1(x), training=training))
        x = nn.relu(self.bn2(self.conv2(x, training=training), training=training))
        return self.bn3(self.conv3(x), training=training)


class ResNet(nn.Module):
    """A residual network: four stages of blocks that each add a branch to their input.

    "Deep Residual Learning for Image Recognition", He et al., CVPR 2016; with grouped (ResNeXt)
    and wide bottlenecks, the tweaks of ResNet-C and -D, dilated stages, and any attention module.

    Args:
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

    Shape: (N, H, W, channels) -> (N, num_classes), or (N, features)
    """

    def __init__(
        self,
        *,
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, cardinality=cardinality, base_width=base_width)
        checks.positive(self, stem_width=stem_width, block_reduce_first=block_reduce_first)
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
        self.num_classes = num_classes
        self.block = block
        self.depths = depths
        self.widths = widths
        self.stem_width = stem_width
        self.stem_type = stem_type
        self.stem_pool = stem_pool
        self.output_stride = output_stride
        self.conv_bias = conv_bias
        self.norm_eps = norm_eps
        self.attention = attention
        self.attention_options = per_stage(attention_options, 4)
        checks.length(self, 4, attention_options=self.attention_options)
        self.attention_position = attention_position
        self.attention_stages = attention_stages
        self.dropout_rate = dropout
        self.drop_path = drop_path
        self.features_only = features_only
        self.block_options = {"reduce_first": block_reduce_first, "bias": conv_bias}
        self.block_options |= {"down_kernel_size": down_kernel_size, "avg_down": avg_down}
        if block == "bottleneck":
            self.block_options |= {"cardinality": cardinality, "base_width": base_width}
            self.block_options |= {"stride_on_1x1": stride_on_1x1}

    def attend(self, stage: int, position: str, **more: int) -> nn.Module | None:
        """The attention module of a position in a stage, if there is one."""
        here = position == self.attention_position and stage in self.attention_stages
        if self.attention and here:
            return plug(self.attention, **more, **self.attention_options[stage - 1])
        return None

    def setup(self, shape):
        bias = {"bias": self.conv_bias}
        channels = self.stem_width
        if self.stem_type == "":
            self.conv1 = conv(channels, 7, stride=2, **bias)
        else:
            channels = 2 * self.stem_width
            deep = self.stem_type == "deep"
            first = self.stem_width if deep else 3 * (self.stem_width // 4)
            self.conv1 = nn.Sequential(
                conv(first, 3, stride=2, **bias),
                nn.BatchNorm(eps=self.norm_eps),
                nn.relu,
                conv(self.stem_width, 3, **bias),
                nn.BatchNorm(eps=self.norm_eps),
                nn.relu,
                conv(channels, 3, **bias),
            )
        self.bn1 = nn.BatchNorm(eps=self.norm_eps)
        maxpool = None
        if self.stem_pool == "conv":
            maxpool = nn.Sequential(
                conv(channels, 3, stride=2, **bias), nn.BatchNorm(eps=self.norm_eps), nn.relu
            )
        self.maxpool = maxpool

        cls = BasicBlock if self.block == "basic" else Bottleneck
        rates = iter(constants.drop_path_rates(self.drop_path, sum(self.depths)))
        reached, dilation = 4, 1
        for stage, (depth, planes) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            stride, first_dilation = (1 if stage == 1 else 2), dilation
            if reached >= self.output_stride:
                stride, dilation = 1, dilation * stride
            reached *= stride
            blocks = []
            for _ in range(depth):
                shape = {
                    "stride": stride,
                    "dilation": dilation,
                    "first_dilation": first_dilation,
                }
                place = partial(self.attend, stage)
                options = {
                    "attend": place,
                    "eps": self.norm_eps,
                    **self.block_options,
                }
                blocks.append(cls(planes, **shape, drop_path=next(rates), **options))
                stride, first_dilation = 1, dilation
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            if stage < 4:
                setattr(self, f"attn{stage}", self.attend(stage, "stage"))
        self.dropout = nn.Dropout(self.dropout_rate)
        head = self.num_classes and not self.features_only
        self.fc = nn.Linear(self.num_classes) if head else None

    @nn.method
    def stage_features(self, x, training=None):
        """The stem's map, of half the size, and those of the four stages."""
        x = self.conv1(x, training=training)
        x = nn.relu(self.bn1(x, training=training))
        features = [x]
        if self.maxpool is None:
            ceil = self.stem_pool == "max_ceil"
            x = nn.max_pool(x, 3, stride=2, padding=0 if ceil else 1, ceil_mode=ceil)
        else:
            x = self.maxpool(x, training=training)
        for layer, attention in (
            (self.layer1, self.attn1),
            (self.layer2, self.attn2),
            (self.layer3, self.attn3),
            (self.layer4, None),
        ):
            x = layer(x, training=training)
            if attention is not None:
                x = attention(x, training=training)
            features.append(x)
        return features

    def call(self, x, training=None):
        features = self.stage_features(x, training=training)
        if self.features_only:
            return features
        x = self.dropout(ops.mean(features[-1], (1, 2)), training=training)
        return x if self.fc is None else self.fc(x)
