"""What torch.nn lacks: PyTorch itself is the reference of the ground floor."""

from multiattn.torch.nn.norm import BatchNorm2d
from multiattn.torch.nn.resample import affine_grid

__all__ = ["BatchNorm2d", "affine_grid"]
