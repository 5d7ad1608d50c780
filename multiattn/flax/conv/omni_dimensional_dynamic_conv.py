import math

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class OmniDimensionalAttention(nnx.Module):
    """The four attentions of omni-dimensional dynamic convolution, from the pooled input.

    Args:
        in_channels: channels of the convolution's input.
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
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        groups: int,
        reduction: float,
        num_kernels: int,
        min_channels: int,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = max(int(in_channels * reduction), min_channels)
        depthwise = groups == in_channels == out_channels

        def conv(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
            return nn.Conv2d(
                inputs,
                outputs,
                1,
                bias=bias,
                weight_init=nn.initializers.kaiming_normal("fan_out"),
                bias_init=nn.initializers.zeros,
                dtype=dtype,
                param_dtype=param_dtype,
                rngs=rngs,
            )

        self.fc = conv(in_channels, hidden, bias=False)
        self.bn = nn.BatchNorm(hidden, dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.channel_fc = conv(hidden, in_channels)
        self.filter_fc = None if depthwise else conv(hidden, out_channels)
        self.spatial_fc = None if kernel_size == 1 else conv(hidden, kernel_size**2)
        self.kernel_fc = None if num_kernels == 1 else conv(hidden, num_kernels)

    def __call__(self, x: jax.Array) -> list[jax.Array | None]:
        context = nn.relu(self.bn(self.fc(x.mean((1, 2), keepdims=True))))
        layers = (self.channel_fc, self.filter_fc, self.spatial_fc, self.kernel_fc)
        return [None if layer is None else layer(context)[:, 0, 0] for layer in layers]


class OmniDimensionalDynamicConv(nnx.Module):
    """A convolution whose kernel is made per image, from four attentions over its dimensions.

    "Omni-Dimensional Dynamic Convolution", Li et al., ICLR 2022.

    Args:
        in_channels: channels of the input; divisible by groups.
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
        in_channels: int,
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
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, kernel_size=kernel_size, num_kernels=num_kernels)
        checks.positive(self, reduction=reduction, temperature=temperature)
        checks.divisible(
            self, by="groups", groups=groups, in_channels=in_channels, out_channels=out_channels
        )
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.temperature = temperature
        self.dtype = dtype
        self.attention = OmniDimensionalAttention(
            in_channels,
            out_channels,
            kernel_size,
            groups=groups,
            reduction=reduction,
            num_kernels=num_kernels,
            min_channels=min_channels,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        initial = nn.initializers.normal(math.sqrt(2 / (out_channels * kernel_size**2)))
        shape = (num_kernels, out_channels, in_channels // groups, kernel_size, kernel_size)
        self.weight = nnx.Param(initial(rngs.params(), shape, param_dtype))

    def update_temperature(self, temperature: float) -> None:
        """Sets the temperature of the attentions."""
        checks.positive(self, temperature=temperature)
        self.temperature = temperature

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight = nn.promote(self.dtype, x, self.weight)
        channel, filters, spatial, mixing = (
            None if logits is None else logits / self.temperature for logits in self.attention(x)
        )
        kernels = jnp.broadcast_to(weight, (len(x), *weight.shape))
        if mixing is not None:
            kernels = kernels * nn.softmax(mixing)[:, :, None, None, None, None]
        kernels = kernels.sum(1)
        if spatial is not None:
            kernels = kernels * nn.sigmoid(spatial).reshape(len(x), 1, 1, *kernels.shape[3:])
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
