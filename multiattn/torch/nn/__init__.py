"""What torch.nn lacks: PyTorch itself is the reference of the ground floor."""

from .norm import BatchNorm2d
from .resample import affine_grid

__all__ = ["BatchNorm2d", "affine_grid"]
