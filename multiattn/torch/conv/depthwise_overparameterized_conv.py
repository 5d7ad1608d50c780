import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn.common import to_tuple


class DepthwiseOverparameterizedConv(nn.Module):
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

    Shape: (N, in_channels, H, W) -> (N, out_channels, H', W'), sizes as for a convolution
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
    ):
        super().__init__()
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
        places = math.prod(self.kernel_size)
        depth = places if depth_multiplier is None or places == 1 else depth_multiplier
        checks.quotient(self, depth_multiplier=depth, places=places)
        bound = 1 / math.sqrt(in_channels // groups * depth)
        self.W = nn.Parameter(torch.empty(out_channels, in_channels // groups, depth))
        nn.init.uniform_(self.W, -bound, bound)
        self.D = nn.Parameter(torch.zeros(in_channels, places, depth)) if places > 1 else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        if bias:
            nn.init.uniform_(self.bias, -bound, bound)
        # with D = 0 the kernel is W, as often as it fits
        repeated = torch.eye(places).repeat(1, depth // places)
        identity = F.pad(repeated, (0, depth % places))
        self.register_buffer("identity", identity, persistent=False)

    def fold(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the plain convolution that does the same."""
        weight = self.W
        if self.D is not None:
            in_channels, _, depth = self.D.shape
            weight = weight.reshape(-1, in_channels, depth)
            weight = torch.einsum("ims,ois->oim", self.D + self.identity, weight)
        return weight.reshape(*self.W.shape[:2], *self.kernel_size), self.bias

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.fold()
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
