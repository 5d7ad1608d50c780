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
)
from .dropout import DropPath
from .module import Module
from .norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from .pool import adaptive_avg_pool, adaptive_max_pool, avg_pool, max_pool
from .recurrent import LSTM
from .resample import (
    affine_grid,
    channel_shuffle,
    flatten,
    fold,
    grid_sample,
    interpolate,
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
    "PReLU", "Sequential", "adaptive_avg_pool", "adaptive_max_pool", "affine_grid", "avg_pool",
    "celu", "channel_shuffle", "elu", "flatten", "fold", "gelu", "grid_sample", "hardsigmoid",
    "hardswish", "hardtanh", "initializers", "interpolate", "leaky_relu", "log_softmax",
    "logsigmoid", "max_pool", "mish", "normalize", "pad", "pixel_shuffle", "pixel_unshuffle",
    "relu", "relu6", "scaled_dot_product_attention", "selu", "sigmoid", "silu", "softmax",
    "softplus", "softsign", "tanh", "unfold",
]
