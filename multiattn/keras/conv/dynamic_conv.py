import math

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class DynamicConvAttention(nn.Module):
    """The logits by which dynamic convolution weighs its kernels, from the pooled input.

    Args:
        num_kernels: how many kernels there are.
        hidden_channels: channels of the bottleneck.

    Shape: (N, H, W, C) -> (N, num_kernels)
    """

    def __init__(self, num_kernels: int, hidden_channels: int, **kwargs):
        super().__init__(**kwargs)
        self.num_kernels = num_kernels
        self.hidden_channels = hidden_channels

    def setup(self, shape):
        options = {
            "kernel_initializer": nn.initializers.kaiming_normal("fan_out"),
            "bias_initializer": nn.initializers.zeros,
        }
        self.fc1 = nn.Conv2d(self.hidden_channels, 1, bias=False, **options)
        self.fc2 = nn.Conv2d(self.num_kernels, 1, **options)

    def call(self, x, training=None):
        return self.fc2(nn.relu(self.fc1(ops.mean(x, (1, 2), keepdims=True))))[:, 0, 0]


class DynamicConv(nn.Module):
    """A convolution whose kernel is, for each image, a weighted mean of several kernels.

    "Dynamic Convolution: Attention over Convolution Kernels", Chen et al., CVPR 2020.

    Args:
        out_channels: channels of the output; divisible by groups.
        kernel_size: of the square kernel.
        stride: as in a convolution.
        padding: as in a convolution.
        dilation: as in a convolution.
        groups: as in a convolution.
        bias: a bias for each kernel, mixed as the kernels are.
        num_kernels: how many kernels are mixed.
        reduction: the attention's bottleneck has in_channels // reduction + 1 channels; for an
            image of three channels, num_kernels.
        temperature: divides the attention's logits; lowered by update_temperature as the
            training goes on (in the paper from 30 to 1, during the first ten epochs).

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
        bias: bool = True,
        num_kernels: int = 4,
        reduction: int = 4,
        temperature: float = 34,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, kernel_size=kernel_size, num_kernels=num_kernels)
        checks.positive(self, stride=stride, dilation=dilation)
        checks.positive(self, reduction=reduction, temperature=temperature)
        checks.divisible(self, by="groups", groups=groups, out_channels=out_channels)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.use_bias = bias
        self.num_kernels = num_kernels
        self.reduction = reduction
        self.temperature = temperature

    def setup(self, shape):
        in_channels = shape[-1]
        checks.divisible(self, by="groups", groups=self.groups, in_channels=in_channels)
        hidden = self.num_kernels if in_channels == 3 else in_channels // self.reduction + 1
        self.attention = DynamicConvAttention(self.num_kernels, hidden)
        fan_in = in_channels // self.groups * self.kernel_size**2
        size = (in_channels // self.groups, self.kernel_size, self.kernel_size)
        self.weight = self.add_weight(
            name="weight",
            shape=(self.num_kernels, self.out_channels, *size),
            initializer=nn.initializers.uniform(math.sqrt(6 / fan_in)),
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.num_kernels, self.out_channels),
                initializer=nn.initializers.zeros,
            )

    def update_temperature(self, step: float = 3) -> None:
        """Lowers the temperature by a step, down to 1."""
        self.temperature = max(1, self.temperature - step)

    def call(self, x, training=None):
        mixing = nn.softmax(self.attention(x, training=training) / self.temperature)
        return nn.batch_conv2d(
            x,
            ops.tensordot(mixing, self.weight, 1),
            None if self.bias is None else ops.matmul(mixing, self.bias),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
