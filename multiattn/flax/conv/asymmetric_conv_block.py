import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from multiattn import checks
from multiattn.flax import nn


class AsymmetricConvBlock(nnx.Module):
    """A square, a vertical and a horizontal convolution, normalised and summed; fuse makes it one.

    "ACNet: Strengthening the Kernel Skeletons for Powerful CNN via Asymmetric Convolution
    Blocks", Ding et al., ICCV 2019.

    Args:
        in_channels: channels of the input; divisible by groups.
        out_channels: channels of the output; divisible by groups.
        kernel_size: of the square kernel; odd, more than 1.
        stride: as in a convolution.
        padding: as in a convolution, of the square kernel.
        dilation: as in a convolution.
        groups: as in a convolution.
        affine: weight and bias of the norms.

    Shape: (N, H, W, in_channels) -> (N, H', W', out_channels), sizes as for the square convolution
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
        affine: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.odd(self, kernel_size=kernel_size)
        if kernel_size == 1:
            checks.fail(self, "kernel_size (1) must be more than 1")
        checks.positive(self, stride=stride, dilation=dilation)
        checks.divisible(
            self, by="groups", groups=groups, in_channels=in_channels, out_channels=out_channels
        )
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}

        def conv(size: tuple[int, int], padding: tuple[int, int]) -> nn.Conv2d:
            return nn.Conv2d(
                in_channels,
                out_channels,
                size,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=groups,
                bias=False,
                **layer,
            )

        def norm() -> nn.BatchNorm:
            return nn.BatchNorm(out_channels, scale=affine, bias=affine, **layer)

        # so that the centres of the three windows agree, the flat ones are padded, or see, less
        reach = dilation * (kernel_size // 2)
        across = max(padding - reach, 0)
        self.crop = max(reach - padding, 0)
        self.square_conv = conv((kernel_size, kernel_size), (padding, padding))
        self.square_bn = norm()
        self.ver_conv = conv((kernel_size, 1), (padding, across))
        self.ver_bn = norm()
        self.hor_conv = conv((1, kernel_size), (across, padding))
        self.hor_bn = norm()

    def fuse(self) -> tuple[jax.Array, jax.Array]:
        """Weight and bias, as PyTorch has them, of the one convolution that does the same in
        evaluation."""
        square, square_bias = normed(self.square_conv, self.square_bn)
        ver, ver_bias = normed(self.ver_conv, self.ver_bn)
        hor, hor_bias = normed(self.hor_conv, self.hor_bn)
        flat, side = (0, 0), (square.shape[-1] // 2,) * 2
        weight = square + jnp.pad(ver, (flat, flat, flat, side))
        weight = weight + jnp.pad(hor, (flat, flat, side, flat))
        weight, bias = nn.promote(self.dtype, weight, square_bias + ver_bias + hor_bias)
        return weight, bias

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        height, width = x.shape[1:3]
        rows = slice(self.crop, height - self.crop)
        columns = slice(self.crop, width - self.crop)
        square = self.square_bn(self.square_conv(x))
        ver = self.ver_bn(self.ver_conv(x[:, :, columns]))
        hor = self.hor_bn(self.hor_conv(x[:, rows]))
        return square + ver + hor


def normed(conv: nn.Conv2d, norm: nn.BatchNorm) -> tuple[jax.Array, jax.Array]:
    """Weight and bias of the convolution that does what both do in evaluation."""
    scale = lax.rsqrt(norm.running_var[...] + norm.eps)
    shift = -norm.running_mean[...] * scale
    if norm.weight is not None and norm.bias is not None:
        scale, shift = scale * norm.weight[...], shift * norm.weight[...] + norm.bias[...]
    return (conv.kernel[...] * scale).transpose(3, 2, 0, 1), shift
