"""What several files of the ground floor share."""

from collections.abc import Iterable, Sequence

from flax.nnx.nn.dtypes import promote_dtype

PerAxis = int | Sequence[int]


def promote(dtype, *arrays):
    """The arrays in `dtype` or, if that is None, in the floating dtype they have in common.

    Arrays may be variables, or None (which stays None). One array in, one out.
    """
    arrays = promote_dtype(arrays, dtype=dtype)
    return arrays if len(arrays) > 1 else arrays[0]


def to_tuple(value, rank: int) -> tuple:
    """An option that is given once, or once per spatial axis: once per axis."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * rank


def check_choice(function: str, option: str, value: str, choices: Iterable[str]) -> None:
    """Raises ValueError unless a function's option is one of the choices."""
    if value not in choices:
        raise ValueError(f"{function}: {option} ({value!r}) must be one of {', '.join(choices)}")
