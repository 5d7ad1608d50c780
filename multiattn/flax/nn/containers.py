"""Containers whose members are called "0", "1", ..., as in PyTorch."""

from flax import nnx

ModuleList = nnx.List


class Identity(nnx.Module):
    """Gives its input."""

    def __call__(self, x):
        return x


class Sequential(nnx.List):
    """Calls its members, layers or plain functions, one after the other."""

    def __init__(self, *members):
        super().__init__(members)

    def __call__(self, x):
        for member in self:
            x = member(x)
        return x
