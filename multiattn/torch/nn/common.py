"""What several modules share."""

from collections.abc import Sequence

PerAxis = int | Sequence[int]


def to_tuple(value, rank: int) -> tuple:
    """An option that is given once, or once per spatial axis: once per axis."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * rank
