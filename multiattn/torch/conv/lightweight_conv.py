import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class LightweightConv(nn.Module):
    """A depthwise convolution over tokens, one kernel for each head, of sum one by a softmax.

    "Pay Less Attention with Lightweight and Dynamic Convolutions", Wu et al., ICLR 2019.

    Args:
        channels: channels of the input, and of the output; divisible by num_heads.
        kernel_size: of the kernels.
        num_heads: groups of neighbouring channels that share a kernel.
        causal: a token sees itself and those before it; otherwise it is in the kernel's middle.
        weight_softmax: whether the kernels are made of sum one.
        bias: adds a learned bias to each channel.
        weight_dropout: in training, the part of the kernels' taps that is dropped, for each token
            anew.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 1,
        *,
        num_heads: int = 1,
        causal: bool = False,
        weight_softmax: bool = True,
        bias: bool = False,
        weight_dropout: float = 0.0,
    ):
        super().__init__()
        checks.positive(self, kernel_size=kernel_size)
        checks.divisible(self, by="num_heads", num_heads=num_heads, channels=channels)
        self.kernel_size = kernel_size
        self.num_heads = num_heads
        self.causal = causal
        self.weight_softmax = weight_softmax
        self.dropout = nn.Dropout(weight_dropout)
        self.weight = nn.Parameter(torch.empty(num_heads, 1, kernel_size))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        n, length, channels = x.shape
        weight = self.weight.softmax(2) if self.weight_softmax else self.weight
        before = self.kernel_size - 1 if self.causal else (self.kernel_size - 1) // 2
        x = F.pad(x, (0, 0, before, self.kernel_size - 1 - before))
        if not self.training or not self.dropout.p:
            kernels = weight.repeat_interleave(channels // self.num_heads, 0)
            return F.conv1d(x.mT, kernels, self.bias, groups=channels).mT
        windows = x.unfold(1, self.kernel_size, 1).unflatten(2, (self.num_heads, -1))
        taps = self.dropout(weight[:, 0].expand(n, length, -1, -1))
        x = (windows @ taps.unsqueeze(-1)).reshape(n, length, channels)
        return x if self.bias is None else x + self.bias
