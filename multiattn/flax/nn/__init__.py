"""The ground floor: PyTorch's layers and functions, over channels-last arrays."""

from jax.nn import celu, elu, log_softmax, mish, relu, relu6, selu, sigmoid, silu, softmax
from jax.nn import log_sigmoid as logsigmoid
from jax.nn import soft_sign as softsign
from jax.numpy import maximum, tanh

from . import initializers
from .activation import (
    PReLU,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    normalize,
    softplus,
)
from .arithmetic import absolute, std
from .attention import MultiheadAttention, scaled_dot_product_attention
from .common import promote
from .containers import Identity, ModuleList, Sequential
from .conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Embedding,
    Linear,
    batch_conv2d,
    conv1d,
    conv2d,
    pad_same,
)
from .dropout import Dropout, Dropout2d, DropPath
from .fourier import irfft2, rfft2
from .gradient import custom_gradient
from .norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from .pool import adaptive_avg_pool, amax, adaptive_max_pool, avg_pool, max_pool
from .recurrent import LSTM
from .resample import (
    affine_grid,
    channel_shuffle,
    flatten,
    fold,
    grid_sample,
    interpolate,
    neighbourhoods,
    pad,
    pixel_shuffle,
    pixel_unshuffle,
    unfold,
)

# fmt: off
__all__ = [
    "BatchNorm", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d",
    "ConvTranspose3d", "Dropout", "Dropout2d", "DropPath", "Embedding", "GroupNorm", "Identity",
    "InstanceNorm", "LayerNorm", "Linear", "LSTM", "ModuleList", "MultiheadAttention", "PReLU",
    "Sequential", "absolute", "adaptive_avg_pool", "adaptive_max_pool", "affine_grid", "amax",
    "avg_pool",
    "batch_conv2d", "celu", "channel_shuffle", "conv1d", "conv2d", "custom_gradient", "elu",
    "flatten", "fold", "gelu", "grid_sample", "hardsigmoid", "hardswish", "hardtanh",
    "initializers", "interpolate", "irfft2", "leaky_relu", "log_softmax", "logsigmoid", "max_pool",
    "maximum", "mish", "neighbourhoods", "normalize", "pad", "pad_same", "pixel_shuffle",
    "pixel_unshuffle", "promote", "relu", "relu6", "rfft2", "scaled_dot_product_attention", "selu",
    "sigmoid", "silu", "softmax", "softplus", "softsign", "std", "tanh", "unfold",
]
