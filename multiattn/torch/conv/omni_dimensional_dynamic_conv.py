import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import batch_conv2d


class OmniDimensionalAttention(nn.Module):
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
        (N, C, H, W) -> channel (N, C), filter (N, O), spatial (N, k * k) and kernel (N, K)
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
    ):
        super().__init__()
        hidden = max(int(in_channels * reduction), min_channels)
        depthwise = groups == in_channels == out_channels
        self.fc = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.channel_fc = nn.Conv2d(hidden, in_channels, 1)
        self.filter_fc = None if depthwise else nn.Conv2d(hidden, out_channels, 1)
        self.spatial_fc = None if kernel_size == 1 else nn.Conv2d(hidden, kernel_size**2, 1)
        self.kernel_fc = None if num_kernels == 1 else nn.Conv2d(hidden, num_kernels, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> list[Tensor | None]:
        context = F.relu(self.bn(self.fc(x.mean((2, 3), keepdim=True))))
        layers = (self.channel_fc, self.filter_fc, self.spatial_fc, self.kernel_fc)
        return [None if layer is None else layer(context).flatten(1) for layer in layers]


class OmniDimensionalDynamicConv(nn.Module):
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
        reduction: float = 0.0625,
        num_kernels: int = 4,
        min_channels: int = 16,
        temperature: float = 1.0,
    ):
        super().__init__()
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
        self.attention = OmniDimensionalAttention(
            in_channels,
            out_channels,
            kernel_size,
            groups=groups,
            reduction=reduction,
            num_kernels=num_kernels,
            min_channels=min_channels,
        )
        self.weight = nn.Parameter(
            torch.empty(num_kernels, out_channels, in_channels // groups, kernel_size, kernel_size)
        )
        for kernel in self.weight:
            nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")

    def update_temperature(self, temperature: float) -> None:
        """Sets the temperature of the attentions."""
        checks.positive(self, temperature=temperature)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        channel, filters, spatial, mixing = (
            None if logits is None else logits / self.temperature for logits in self.attention(x)
        )
        kernels = self.weight.expand(n, *self.weight.shape)
        if mixing is not None:
            kernels = kernels * torch.softmax(mixing, 1)[:, :, None, None, None, None]
        kernels = kernels.sum(1)
        if spatial is not None:
            kernels = kernels * torch.sigmoid(spatial).reshape(n, 1, 1, *kernels.shape[3:])
        x = x * torch.sigmoid(channel)[:, :, None, None]
        x = batch_conv2d(
            x,
            kernels,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return x if filters is None else x * torch.sigmoid(filters)[:, :, None, None]
