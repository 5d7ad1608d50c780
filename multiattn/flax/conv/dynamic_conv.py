import math

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class DynamicConvAttention(nnx.Module):
    """The logits by which dynamic convolution weighs its kernels, from the pooled input.

    Args:
        channels: channels of the input.
        num_kernels: how many kernels there are.
        hidden_channels: channels of the bottleneck.

    Shape: (N, H, W, C) -> (N, num_kernels)
    """

    def __init__(
        self,
        channels: int,
        num_kernels: int,
        hidden_channels: int,
        *,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        options = {
            "weight_init": nn.initializers.kaiming_normal("fan_out"),
            "bias_init": nn.initializers.zeros,
            "dtype": dtype,
            "param_dtype": param_dtype,
            "rngs": rngs,
        }
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1, bias=False, **options)
        self.fc2 = nn.Conv2d(hidden_channels, num_kernels, 1, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(nn.relu(self.fc1(x.mean((1, 2), keepdims=True))))[:, 0, 0]


class DynamicConv(nnx.Module):
    """A convolution whose kernel is, for each image, a weighted mean of several kernels.

    "Dynamic Convolution: Attention over Convolution Kernels", Chen et al., CVPR 2020.

    Args:
        in_channels: channels of the input; divisible by groups.
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
        in_channels: int,
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
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, kernel_size=kernel_size, num_kernels=num_kernels)
        checks.positive(self, stride=stride, dilation=dilation)
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
        hidden = num_kernels if in_channels == 3 else in_channels // reduction + 1
        self.attention = DynamicConvAttention(
            in_channels, num_kernels, hidden, dtype=dtype, param_dtype=param_dtype, rngs=rngs
        )
        fan_in = in_channels // groups * kernel_size**2

        def parameter(initial: nn.initializers.Initializer, *shape: int) -> nnx.Param:
            return nnx.Param(initial(rngs.params(), (num_kernels, *shape), param_dtype))

        self.weight = parameter(
            nn.initializers.uniform(math.sqrt(6 / fan_in)),
            out_channels,
            in_channels // groups,
            kernel_size,
            kernel_size,
        )
        self.bias = parameter(nn.initializers.zeros, out_channels) if bias else None

    def update_temperature(self, step: float = 3) -> None:
        """Lowers the temperature by a step, down to 1."""
        self.temperature = max(1, self.temperature - step)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = nn.promote(self.dtype, x, self.weight, self.bias)
        mixing = nn.softmax(self.attention(x) / self.temperature)
        return nn.batch_conv2d(
            x,
            jnp.tensordot(mixing, weight, 1),
            None if bias is None else mixing @ bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
