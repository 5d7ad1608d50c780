import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import batch_conv2d


class DynamicConvAttention(nn.Module):
    """The logits by which dynamic convolution weighs its kernels, from the pooled input.

    Args:
        channels: channels of the input.
        num_kernels: how many kernels there are.
        hidden_channels: channels of the bottleneck.

    Shape: (N, C, H, W) -> (N, num_kernels)
    """

    def __init__(self, channels: int, num_kernels: int, hidden_channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden_channels, num_kernels, 1)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).flatten(1)


class DynamicConv(nn.Module):
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

    Shape: (N, in_channels, H, W) -> (N, out_channels, H', W'), sizes as for a convolution
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
    ):
        super().__init__()
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
        hidden = num_kernels if in_channels == 3 else in_channels // reduction + 1
        self.attention = DynamicConvAttention(in_channels, num_kernels, hidden)
        self.weight = nn.Parameter(
            torch.empty(num_kernels, out_channels, in_channels // groups, kernel_size, kernel_size)
        )
        self.bias = nn.Parameter(torch.zeros(num_kernels, out_channels)) if bias else None
        for kernel in self.weight:
            nn.init.kaiming_uniform_(kernel)

    def update_temperature(self, step: float = 3) -> None:
        """Lowers the temperature by a step, down to 1."""
        self.temperature = max(1, self.temperature - step)

    def forward(self, x: Tensor) -> Tensor:
        mixing = torch.softmax(self.attention(x) / self.temperature, 1)
        return batch_conv2d(
            x,
            (mixing @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:]),
            None if self.bias is None else mixing @ self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
