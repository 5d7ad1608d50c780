import math
from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiattn import checks
from multiattn.flax import nn
from multiattn.flax.nn.common import to_tuple


class DepthwiseOverparameterizedConv(nnx.Module):
    """A convolution whose kernel is the product of a depthwise and a common one; fold gives it.

    "DO-Conv: Depthwise Over-parameterized Convolutional Layer", Cao et al., IEEE TIP 2022.

    Args:
        in_channels: channels of the input; divisible by groups.
        out_channels: channels of the output; divisible by groups.
        kernel_size: of the convolution, once or per axis, as stride, padding and dilation.
        depth_multiplier: size of the axis over which the two kernels are multiplied, at least the
            kernel's number of places, which None stands for; a kernel of one place has none.
        stride: as in a convolution.
        padding: as in a convolution.
        dilation: as in a convolution.
        groups: as in a convolution.
        bias: adds a learned bias to each channel.

    Shape: (N, H, W, in_channels) -> (N, H', W', out_channels), sizes as for a convolution
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        depth_multiplier: int | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.divisible(
            self, by="groups", groups=groups, in_channels=in_channels, out_channels=out_channels
        )
        self.kernel_size = to_tuple(kernel_size, 2)
        self.stride = to_tuple(stride, 2)
        self.padding = to_tuple(padding, 2)
        self.dilation = to_tuple(dilation, 2)
        pairs = {"kernel_size": self.kernel_size, "stride": self.stride, "dilation": self.dilation}
        checks.length(self, 2, **pairs, padding=self.padding)
        checks.positive(self, **pairs)
        self.groups = groups
        self.dtype = dtype
        places = math.prod(self.kernel_size)
        depth = places if depth_multiplier is None or places == 1 else depth_multiplier
        checks.quotient(self, depth_multiplier=depth, places=places)

        def parameter(initial: nn.initializers.Initializer, *shape: int) -> nnx.Param:
            return nnx.Param(initial(rngs.params(), shape, param_dtype))

        initial = nn.initializers.uniform(1 / math.sqrt(in_channels // groups * depth))
        self.W = parameter(initial, out_channels, in_channels // groups, depth)
        self.D = (
            parameter(nn.initializers.zeros, in_channels, places, depth) if places > 1 else None
        )
        self.bias = parameter(initial, out_channels) if bias else None

    def fold(self) -> tuple[jax.Array, jax.Array | None]:
        """Weight and bias, as PyTorch has them, of the plain convolution that does the same."""
        depthwise, weight, bias = nn.promote(self.dtype, self.D, self.W, self.bias)
        if depthwise is not None:
            in_channels, places, depth = depthwise.shape
            depthwise = depthwise + jnp.asarray(identity(places, depth), depthwise.dtype)
            weight = weight.reshape(-1, in_channels, depth)
            weight = jnp.einsum("ims,ois->oim", depthwise, weight)
        return weight.reshape(*self.W.shape[:2], *self.kernel_size), bias

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = nn.promote(self.dtype, x, *self.fold())
        return nn.conv2d(
            x,
            weight,
            bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


@lru_cache
def identity(places: int, depth: int) -> np.ndarray:
    """What is added to D: with D = 0 the kernel is W, as often as it fits."""
    repeated = np.tile(np.eye(places), depth // places)
    return np.pad(repeated, ((0, 0), (0, depth % places)))
