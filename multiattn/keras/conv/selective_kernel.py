from collections.abc import Sequence

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SelectiveKernelPath(nn.Module):
    """Convolution that keeps the size, batch norm, ReLU.

    Args:
        out_channels: channels of the output.
        kernel_size: odd.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.

    Shape: (N, H, W, in_channels) -> (N, ceil(H / stride), ceil(W / stride), out_channels)
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int,
        dilation: int,
        groups: int,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.dilation = dilation
        self.groups = groups

    def setup(self, shape):
        self.conv = nn.Conv2d(
            self.out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=self.dilation * (self.kernel_size // 2),
            dilation=self.dilation,
            groups=self.groups,
            bias=False,
        )
        self.bn = nn.BatchNorm()

    def call(self, x, training=None):
        return nn.relu(self.bn(self.conv(x), training=training))


class SelectiveKernelAttention(nn.Module):
    """What each path counts for in each channel, from their pooled sum.

    Args:
        num_paths: number of the paths.
        hidden_channels: channels of the bottleneck.

    Shape: (N, H, W, C) -> (N, num_paths, C), of sum one over the paths
    """

    def __init__(self, num_paths: int, hidden_channels: int, **kwargs):
        super().__init__(**kwargs)
        self.num_paths = num_paths
        self.hidden_channels = hidden_channels

    def setup(self, shape):
        self.fc_reduce = nn.Conv2d(self.hidden_channels, 1, bias=False)
        self.bn = nn.BatchNorm()
        self.fc_select = nn.Conv2d(self.num_paths * shape[-1], 1, bias=False)

    def call(self, x, training=None):
        context = self.fc_reduce(ops.mean(x, (1, 2), keepdims=True))
        context = nn.relu(self.bn(context, training=training))
        logits = ops.reshape(self.fc_select(context), (-1, self.num_paths, x.shape[-1]))
        return nn.softmax(logits, 1)


class SelectiveKernel(nn.Module):
    """Convolutions of several receptive fields, mixed channel by channel from their pooled sum.

    "Selective Kernel Networks", Li et al., CVPR 2019.

    Args:
        out_channels: channels of the output; None: in_channels.
        kernel_sizes: one path for each; odd, at least 3.
        stride: of the paths.
        dilation: of the paths.
        groups: of the paths, at most out_channels; 32 in the paper.
        reduction: the bottleneck has max(out_channels // reduction, min_channels) channels.
        min_channels: see reduction.
        reduced_channels: channels of the bottleneck, given outright.
        keep_3x3: larger kernels are 3x3 ones, dilated so as to reach as far.
        split_input: each path has a part of the input; their number divides in_channels (timm).

    Shape: (N, H, W, in_channels) -> (N, ceil(H / stride), ceil(W / stride), out_channels)
    """

    def __init__(
        self,
        *,
        out_channels: int | None = None,
        kernel_sizes: Sequence[int] = (3, 5),
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        reduction: int = 16,
        min_channels: int = 32,
        reduced_channels: int | None = None,
        keep_3x3: bool = True,
        split_input: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, reduction=reduction)
        checks.positive(self, stride=stride, dilation=dilation)
        checks.nonempty(self, kernel_sizes=kernel_sizes)
        for kernel_size in kernel_sizes:
            checks.odd(self, kernel_sizes=kernel_size)
            if kernel_size < 3:
                checks.fail(self, f"kernel_sizes ({kernel_size}) must be at least 3")
        self.out_channels = out_channels
        self.kernel_sizes = tuple(kernel_sizes)
        self.stride = stride
        self.dilation = dilation
        self.groups = groups
        self.reduction = reduction
        self.min_channels = min_channels
        self.reduced_channels = reduced_channels
        self.keep_3x3 = keep_3x3
        self.split_input = split_input

    def setup(self, shape):
        in_channels = path_channels = shape[-1]
        num_paths = len(self.kernel_sizes)
        out_channels = self.out_channels or in_channels
        if self.split_input:
            checks.divisible(self, by="paths", paths=num_paths, in_channels=in_channels)
            path_channels = in_channels // num_paths
        groups = min(self.groups, out_channels)
        widths = {"in_channels": path_channels, "out_channels": out_channels}
        checks.divisible(self, by="groups", groups=groups, **widths)
        hidden = self.reduced_channels or max(out_channels // self.reduction, self.min_channels)
        checks.positive(self, reduced_channels=hidden)

        def path(kernel_size: int) -> SelectiveKernelPath:
            reach = self.dilation * (kernel_size // 2) if self.keep_3x3 else self.dilation
            return SelectiveKernelPath(
                out_channels,
                3 if self.keep_3x3 else kernel_size,
                stride=self.stride,
                dilation=reach,
                groups=groups,
            )

        self.paths = nn.ModuleList(map(path, self.kernel_sizes))
        self.attn = SelectiveKernelAttention(num_paths, hidden)

    def call(self, x, training=None):
        paths = len(self.paths)
        inputs = ops.split(x, paths, -1) if self.split_input else [x] * paths
        features = ops.stack(
            [path(x, training=training) for path, x in zip(self.paths, inputs, strict=True)], 3
        )
        weights = self.attn(ops.sum(features, 3), training=training)
        return ops.sum(features * weights[:, None, None], 3)
