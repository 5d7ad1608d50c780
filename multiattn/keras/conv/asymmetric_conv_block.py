from keras import ops

from multiattn import checks
from multiattn.keras import nn


class AsymmetricConvBlock(nn.Module):
    """A square, a vertical and a horizontal convolution, normalised and summed; fuse makes it one.

    "ACNet: Strengthening the Kernel Skeletons for Powerful CNN via Asymmetric Convolution
    Blocks", Ding et al., ICCV 2019.

    Args:
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
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        affine: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.odd(self, kernel_size=kernel_size)
        if kernel_size == 1:
            checks.fail(self, "kernel_size (1) must be more than 1")
        checks.positive(self, stride=stride, dilation=dilation)
        checks.divisible(self, by="groups", groups=groups, out_channels=out_channels)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.affine = affine

    def setup(self, shape):
        checks.divisible(self, by="groups", groups=self.groups, in_channels=shape[-1])
        size, padding = self.kernel_size, self.padding

        def conv(size: tuple[int, int], padding: tuple[int, int]) -> nn.Conv2d:
            return nn.Conv2d(
                self.out_channels,
                size,
                stride=self.stride,
                padding=padding,
                dilation=self.dilation,
                groups=self.groups,
                bias=False,
            )

        def norm() -> nn.BatchNorm:
            return nn.BatchNorm(scale=self.affine, bias=self.affine)

        # so that the centres of the three windows agree, the flat ones are padded, or see, less
        reach = self.dilation * (size // 2)
        across = max(padding - reach, 0)
        self.crop = max(reach - padding, 0)
        self.square_conv = conv((size, size), (padding, padding))
        self.square_bn = norm()
        self.ver_conv = conv((size, 1), (padding, across))
        self.ver_bn = norm()
        self.hor_conv = conv((1, size), (across, padding))
        self.hor_bn = norm()

    def fuse(self):
        """Weight and bias, as PyTorch has them, of the one convolution that does the same in
        evaluation."""
        if not self.built:
            checks.fail(self, "fuse needs the state: call it once, or build it")
        square, square_bias = normed(self.square_conv, self.square_bn)
        ver, ver_bias = normed(self.ver_conv, self.ver_bn)
        hor, hor_bias = normed(self.hor_conv, self.hor_bn)
        flat, side = (0, 0), (self.kernel_size // 2,) * 2
        weight = square + ops.pad(ver, (flat, flat, flat, side))
        weight = weight + ops.pad(hor, (flat, flat, side, flat))
        bias = square_bias + ver_bias + hor_bias
        return ops.cast(weight, self.compute_dtype), ops.cast(bias, self.compute_dtype)

    def call(self, x, training=None):
        height, width = ops.shape(x)[1:3]
        rows = slice(self.crop, height - self.crop)
        columns = slice(self.crop, width - self.crop)
        square = self.square_bn(self.square_conv(x), training=training)
        ver = self.ver_bn(self.ver_conv(x[:, :, columns]), training=training)
        hor = self.hor_bn(self.hor_conv(x[:, rows]), training=training)
        return square + ver + hor


def normed(conv: nn.Conv2d, norm: nn.BatchNorm):
    """Weight and bias of the convolution that does what both do in evaluation."""
    scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
    shift = -norm.moving_mean * scale
    if norm.scale:
        scale, shift = scale * norm.gamma, shift * norm.gamma + norm.beta
    return ops.transpose(conv.kernel * scale, (3, 2, 0, 1)), shift
