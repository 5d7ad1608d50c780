import math
from collections.abc import Sequence

import numpy as np
from keras import ops

from multiattn import checks
from multiattn.keras import nn
from multiattn.keras.nn.common import to_tuple


class DepthwiseOverparameterizedConv(nn.Module):
    """A convolution whose kernel is the product of a depthwise and a common one; fold gives it.

    "DO-Conv: Depthwise Over-parameterized Convolutional Layer", Cao et al., IEEE TIP 2022.

    Args:
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
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        depth_multiplier: int | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.divisible(self, by="groups", groups=groups, out_channels=out_channels)
        self.out_channels = out_channels
        self.kernel_size = to_tuple(kernel_size, 2)
        self.stride = to_tuple(stride, 2)
        self.padding = to_tuple(padding, 2)
        self.dilation = to_tuple(dilation, 2)
        pairs = {"kernel_size": self.kernel_size, "stride": self.stride, "dilation": self.dilation}
        checks.length(self, 2, **pairs, padding=self.padding)
        checks.positive(self, **pairs)
        self.groups = groups
        self.use_bias = bias
        places = math.prod(self.kernel_size)
        depth = places if depth_multiplier is None or places == 1 else depth_multiplier
        checks.quotient(self, depth_multiplier=depth, places=places)
        self.depth = depth

    def setup(self, shape):
        in_channels = shape[-1]
        checks.divisible(self, by="groups", groups=self.groups, in_channels=in_channels)
        places, depth = math.prod(self.kernel_size), self.depth

        def parameter(name: str, initial, *shape: int):
            return self.add_weight(name=name, shape=shape, initializer=initial)

        initial = nn.initializers.uniform(1 / math.sqrt(in_channels // self.groups * depth))
        self.W = parameter("W", initial, self.out_channels, in_channels // self.groups, depth)
        self.D = None
        if places > 1:
            self.D = parameter("D", nn.initializers.zeros, in_channels, places, depth)
        self.bias = parameter("bias", initial, self.out_channels) if self.use_bias else None
        # with D = 0 the kernel is W, as often as it fits
        repeated = np.tile(np.eye(places), depth // places)
        self.identity = np.pad(repeated, ((0, 0), (0, depth % places)))

    def fold(self):
        """Weight and bias, as PyTorch has them, of the plain convolution that does the same."""
        if not hasattr(self, "W"):
            checks.fail(self, "fold needs the state: call it once, or build it")
        dtype = self.compute_dtype
        weight = ops.cast(self.W, dtype)
        if self.D is not None:
            in_channels, _, depth = self.D.shape
            weight = ops.reshape(weight, (-1, in_channels, depth))
            depthwise = ops.cast(self.D, dtype) + ops.convert_to_tensor(self.identity, dtype)
            weight = ops.einsum("ims,ois->oim", depthwise, weight)
        weight = ops.reshape(weight, (*self.W.shape[:2], *self.kernel_size))
        return weight, None if self.bias is None else ops.cast(self.bias, dtype)

    def call(self, x):
        weight, bias = self.fold()
        return nn.conv2d(
            x,
            weight,
            bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
