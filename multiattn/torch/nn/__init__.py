"""What torch.nn lacks: PyTorch itself is the reference of the ground floor."""

from .attention import scaled_dot_product_attention
from .conv import batch_conv2d, pad_same
from .dropout import DropPath
from .gradient import custom_gradient
from .norm import BatchNorm2d, LayerNorm2d
from .pool import MaxPool1d, amax
from .recurrent import LSTM
from .resample import affine_grid, neighbourhoods

__all__ = [
    "BatchNorm2d",
    "DropPath",
    "LSTM",
    "LayerNorm2d",
    "MaxPool1d",
    "affine_grid",
    "amax",
    "batch_conv2d",
    "custom_gradient",
    "neighbourhoods",
    "pad_same",
    "scaled_dot_product_attention",
]
