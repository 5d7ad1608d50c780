import math

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class OmniDimensionalAttention(nn.Module):
    """The four attentions of omni-dimensional dynamic convolution, from the pooled input.

    Args:
        out_channels: channels of its output.
        kernel_size: of the convolution.
        groups: of the convolution.
        reduction: the bottleneck has max(int(in_channels * reduction), min_channels) channels.
        num_kernels: how many kernels are mixed.
        min_channels: see reduction.

    Shape:
        (N, H, W, C) -> channel (N, C), filter (N, O), spatial (N, k * k) and kernel (N, K)
        logits; None for one that has nothing to choose from.
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: int,
        *,
        groups: int,
        reduction: float,
        num_kernels: int,
        min_channels: int,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.groups = groups
        self.reduction = reduction
        self.num_kernels = num_kernels
        self.min_channels = min_channels

    def setup(self, shape):
        in_channels = shape[-1]
        hidden = max(int(in_channels * self.reduction), self.min_channels)
        depthwise = self.groups == in_channels == self.out_channels

        def conv(outputs: int, bias: bool = True) -> nn.Conv2d:
            return nn.Conv2d(
                outputs,
                1,
                bias=bias,
                kernel_initializer=nn.initializers.kaiming_normal("fan_out"),
                bias_initializer=nn.initializers.zeros,
            )

        self.fc = conv(hidden, bias=False)
        self.bn = nn.BatchNorm()
        self.channel_fc = conv(in_channels)
        self.filter_fc = None if depthwise else conv(self.out_channels)
        self.spatial_fc = None if self.kernel_size == 1 else conv(self.kernel_size**2)
        self.kernel_fc = None if self.num_kernels == 1 else conv(self.num_kernels)

    def call(self, x, training=None):
        context = self.fc(ops.mean(x, (1, 2), keepdims=True))
        context = nn.relu(self.bn(context, training=training))
        layers = (self.channel_fc, self.filter_fc, self.spatial_fc, self.kernel_fc)
        return [None if layer is None else layer(context)[:, 0, 0] for layer in layers]


class OmniDimensionalDynamicConv(nn.Module):
    """A convolution whose kernel is made per image, from four attentions over its dimensions.

    "Omni-Dimensional Dynamic Convolution", Li et al., ICLR 2022.

    Args:
        out_channels: channels of the output; divisible by groups.
        kernel_size: of the square kernel.
        stride: as in a convolution.
        padding: as in a convolution.
        dilation: as in a convolution.
        groups: as in a convolution.
        reduction: a factor: the attentions' bottleneck has max(int(in_channels * reduction),
            min_channels) channels.
        num_kernels: how many kernels are mixed.
        min_channels: see reduction.
        temperature: divides the attentions' logits; the authors lower it from 30 to 1 during the
            first epochs, by update_temperature.

    Shape: (N, H, W, in_channels) -> (N, H', W', out_channels), sizes as for a convolution
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        reduction: float = 0.0625,
        num_kernels: int = 4,
        min_channels: int = 16,
        temperature: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, kernel_size=kernel_size, num_kernels=num_kernels)
        checks.positive(self, reduction=reduction, temperature=temperature)
        checks.divisible(self, by="groups", groups=groups, out_channels=out_channels)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.reduction = reduction
        self.num_kernels = num_kernels
        self.min_channels = min_channels
        self.temperature = temperature

    def setup(self, shape):
        checks.divisible(self, by="groups", groups=self.groups, in_channels=shape[-1])
        self.attention = OmniDimensionalAttention(
            self.out_channels,
            self.kernel_size,
            groups=self.groups,
            reduction=self.reduction,
            num_kernels=self.num_kernels,
            min_channels=self.min_channels,
        )
        size = (self.kernel_size, self.kernel_size)
        self.weight = self.add_weight(
            name="weight",
            shape=(self.num_kernels, self.out_channels, shape[-1] // self.groups, *size),
            initializer=nn.initializers.normal(
                math.sqrt(2 / (self.out_channels * self.kernel_size**2))
            ),
        )

    def update_temperature(self, temperature: float) -> None:
        """Sets the temperature of the attentions."""
        checks.positive(self, temperature=temperature)
        self.temperature = temperature

    def call(self, x, training=None):
        channel, filters, spatial, mixing = (
            None if logits is None else logits / self.temperature
            for logits in self.attention(x, training=training)
        )
        kernels = ops.broadcast_to(self.weight, (ops.shape(x)[0], *self.weight.shape))
        if mixing is not None:
            kernels = kernels * nn.softmax(mixing)[:, :, None, None, None, None]
        kernels = ops.sum(kernels, 1)
        if spatial is not None:
            kernels = kernels * ops.reshape(
                nn.sigmoid(spatial), (-1, 1, 1, self.kernel_size, self.kernel_size)
            )
        x = x * nn.sigmoid(channel)[:, None, None, :]
        x = nn.batch_conv2d(
            x,
            kernels,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return x if filters is None else x * nn.sigmoid(filters)[:, None, None, :]
