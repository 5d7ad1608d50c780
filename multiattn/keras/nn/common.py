"""What several files of the ground floor share."""

from collections.abc import Iterable, Sequence

from keras import ops
from keras.src import backend

PerAxis = int | Sequence[int]


def to_tuple(value, rank: int) -> tuple:
    """An option that is given once, or once per spatial axis: once per axis."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * rank


def check_choice(function: str, option: str, value: str, choices: Iterable[str]) -> None:
    """Raises ValueError unless a function's option is one of the choices."""
    if value not in choices:
        raise ValueError(f"{function}: {option} ({value!r}) must be one of {', '.join(choices)}")


def pad_all(x, widths: Sequence[tuple[int, int]], value: float = 0.0):
    """Pads all axes. `ops.pad` makes an object for it, which torch.compile does not bear."""
    if all(isinstance(n, int) and n == 0 for ends in widths for n in ends):
        return x
    return backend.numpy.pad(x, widths, constant_values=value)


def spread(x, axis: int, step: int):
    """Puts step - 1 zeros behind each place of an axis."""
    if step == 1:
        return x
    shape = list(ops.shape(x))
    widths = [(0, 0)] * (len(shape) + 1)
    widths[axis + 1] = (0, step - 1)
    shape[axis] *= step
    return ops.reshape(pad_all(ops.expand_dims(x, axis + 1), widths), shape)


def slide(x, axis: int, kernel: int, stride: int, dilation: int, to: int | None = None):
    """The windows along an axis: their places are a new axis, `to` or behind it."""
    reach = dilation * (kernel - 1)
    length = (ops.shape(x)[axis] - reach - 1) // stride * stride + 1
    starts = range(0, reach + 1, dilation)
    before = (slice(None),) * axis
    return ops.stack(
        [x[(*before, slice(i, i + length, stride))] for i in starts],
        axis + 1 if to is None else to,
    )
