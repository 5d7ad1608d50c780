"""The ground floor: PyTorch's layers and functions, channels last, and the modules' base class."""

from keras.layers import Dropout, Identity
from keras.layers import SpatialDropout2D as Dropout2d
from keras.ops import elu, log_softmax, relu, sigmoid, silu, softmax, softsign, tanh
from keras.ops import log_sigmoid as logsigmoid

from . import initializers
from .activation import (
    PReLU,
    celu,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    mish,
    normalize,
    relu6,
    selu,
    softplus,
)
from .arithmetic import absolute, maximum, std
from .attention import MultiheadAttention, scaled_dot_product_attention
from .containers import ModuleList, Sequential
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
from .dropout import DropPath
from .fourier import irfft2, rfft2
from .gradient import custom_gradient
from .module import Module, method
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
    "InstanceNorm", "LayerNorm", "Linear", "LSTM", "Module", "ModuleList", "MultiheadAttention",
    "PReLU", "Sequential", "absolute", "adaptive_avg_pool", "adaptive_max_pool", "affine_grid",
    "amax", "avg_pool", "batch_conv2d", "celu", "channel_shuffle", "conv1d", "conv2d",
    "custom_gradient", "elu", "flatten", "fold", "gelu", "grid_sample", "hardsigmoid", "hardswish",
    "hardtanh", "initializers", "interpolate", "irfft2", "leaky_relu", "log_softmax", "logsigmoid",
    "max_pool", "maximum", "method", "mish", "neighbourhoods", "normalize", "pad", "pad_same",
    "pixel_shuffle", "pixel_unshuffle", "relu", "relu6", "rfft2", "scaled_dot_product_attention",
    "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "std", "tanh", "unfold",
]
