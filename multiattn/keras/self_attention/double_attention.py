from keras import ops

from multiattn import checks
from multiattn.keras import nn


class DoubleAttention(nn.Module):
    """Double attention: gathers a few global descriptors, then hands each position a mixture.

    "A2-Nets: Double Attention Networks", Chen et al., NeurIPS 2018.

    Args:
        c_m: width of the descriptors.
        c_n: number of descriptors.
        reconstruct: a last convolution back to channels.
        residual: adds the input at the end; needs reconstruct.

    Shape: (N, H, W, C) -> (N, H, W, C), or (N, H, W, c_m) without reconstruct
    """

    def __init__(
        self,
        c_m: int,
        c_n: int,
        *,
        reconstruct: bool = True,
        residual: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, c_m=c_m, c_n=c_n)
        if residual and not reconstruct:
            checks.fail(self, f"residual ({residual}) needs reconstruct ({reconstruct})")
        self.c_m = c_m
        self.c_n = c_n
        self.reconstruct = reconstruct
        self.residual = residual

    def setup(self, shape):
        self.convA = nn.Conv2d(self.c_m, 1)
        self.convB = nn.Conv2d(self.c_n, 1)
        self.convV = nn.Conv2d(self.c_n, 1)
        self.conv_reconstruct = nn.Conv2d(shape[-1], 1) if self.reconstruct else nn.Identity()

    def call(self, x, training=None):
        n, height, width = ops.shape(x)[:3]
        features, gathering, distribution = (
            ops.reshape(maps, (n, -1, maps.shape[-1]))
            for maps in (self.convA(x), self.convB(x), self.convV(x))
        )
        descriptors = ops.einsum("npk,npc->nkc", nn.softmax(gathering, 1), features)
        mixtures = nn.softmax(distribution) @ descriptors
        out = self.conv_reconstruct(ops.reshape(mixtures, (n, height, width, self.c_m)))
        return out + x if self.residual else out
