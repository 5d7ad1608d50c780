"""What is measured: a module with its options, and the shapes of its inputs."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from multiattn import catalog, options
from multiattn.verify.player import is_image

WIDTH = 64
SIDE = 56

# Values for options that have no default.
USUAL = {
    "out_channels": WIDTH,
    "hidden_channels": WIDTH,
    "key_channels": WIDTH // 2,
    "c_m": WIDTH // 2,
    "c_n": WIDTH // 2,
    "kernel_size": 3,
    "num_heads": 4,
    "num_classes": 1000,
    "num_inputs": 2,
    "level": 0,
}


@dataclass(frozen=True)
class Request:
    """What a worker is to measure.

    Args:
        name: what ``create`` takes.
        options: the module's own.
        input_widths: the options that Keras doesn't have.
        axes: of each input, in PyTorch's order.
        shapes: of each input, in that order, with the batch.
        input_grads: whether the backward pass goes down to the inputs, as inside a network.
        seconds: how long a figure is measured.
        timed: False only counts.
    """

    name: str
    options: Mapping[str, Any]
    input_widths: Sequence[str]
    axes: Sequence[str]
    shapes: Sequence[Sequence[int]]
    input_grads: bool
    seconds: float
    timed: bool = True

    @property
    def batch(self) -> int:
        return self.shapes[0][0]

    def describe(self) -> str:
        """The module as it is made, and its inputs."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        shapes = ", ".join("×".join(map(str, shape[1:])) for shape in self.shapes)
        return f"{self.name}({given}) on {shapes}, batch {self.batch}"


def _numbers(size: str) -> tuple[int, ...]:
    parts = size.lower().replace("×", "x").split("x")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"--size {size!r} is not of the form 56, 56x48 or 64x56x48")
    return tuple(map(int, parts))


def _shape(axes: str, numbers: tuple[int, ...] | None, side: int, batch: int) -> list[int | None]:
    """An input's shape; None stands for a width that the size doesn't say."""
    if not axes.startswith("N"):
        if numbers is None:
            raise ValueError(f"an input with the axes {axes} needs its size: one --size for each")
        if len(numbers) == len(axes):
            return [*numbers]
    rest = len(axes) - 1
    if is_image(axes):
        if numbers is None or len(numbers) == 1:
            return [batch, None, *([numbers[0] if numbers else side] * (rest - 1))]
        if len(numbers) == rest - 1:
            return [batch, None, *numbers]
    elif axes == "NLC" and (numbers is None or len(numbers) == 1):
        return [batch, (numbers[0] if numbers else side) ** 2, None]
    elif axes == "NC" and numbers is None:
        return [batch, None]
    if numbers is None or len(numbers) != rest:
        shown = "×".join(map(str, numbers or (side,)))
        raise ValueError(f"--size {shown} does not suit an input with the axes {axes}")
    return [batch, *numbers]


def _width_axis(axes: str) -> int | None:
    return axes.index("C") if is_image(axes) or axes in ("NLC", "NC") else None


def plan(
    name: str,
    given: Mapping[str, Any],
    sizes: Sequence[str] = (),
    batch: int = 8,
    seconds: float = 2.0,
) -> Request:
    """Completes what somebody has asked for: with usual options, and inputs that suit them.

    Args:
        name: a module's name or alias, or a backbone's published name.
        given: the module's options.
        sizes: of the inputs, one for all or one each: a side, its spatial size, or all but the
            batch. A list of tokens is as long as a map of that side has pixels.
        batch: how many inputs at a time.
        seconds: how long a figure is measured.

    Raises:
        ValueError: no such module or option, or a size that doesn't suit.
    """
    entry, published = catalog.find(name)
    known = options.known(entry)
    known |= {one: replace(known[one], default=value) for one, value in published.items()}
    for option in given:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ValueError(f"{entry.name} has no option {option!r}; {hint}")
    count = len(entry.inputs)
    numbers: list[tuple[int, ...] | None] = [_numbers(size) for size in sizes]
    if len(numbers) not in (0, 1, count):
        raise ValueError(f"{entry.name} takes {count} inputs, not {len(numbers)}")
    if len(numbers) == 1:
        numbers = [None if axes == "NC" else numbers[0] for axes in entry.inputs]
    numbers = numbers or [None] * count
    models = {one.lower(): model for one, model in entry.models.items()}
    model = models.get(name.lower())
    side = model.input_size if model else SIDE
    shapes = [_shape(a, n, side, batch) for a, n in zip(entry.inputs, numbers, strict=True)]

    made = dict(given)
    widths = [one for one in entry.input_widths if one in known]
    columns = [(k, axis) for k, a in enumerate(entry.inputs) if (axis := _width_axis(a))]
    stated = [shapes[k][axis] for k, axis in columns]
    several = len(widths) == len(columns) > 1
    for index, option in enumerate(widths):
        if option in given or (not any(stated) and not known[option].required):
            continue
        usual = [width or WIDTH for width in stated] or [WIDTH]
        if "Sequence" in known[option].annotation:
            made[option] = usual
        elif several or index == 0:
            made[option] = usual[index if several else 0]
    for position, (k, axis) in enumerate(columns):
        if shapes[k][axis] is None:
            shapes[k][axis] = _width(made, known, widths, position if several else None, position)

    whole = [[n for n in shape if n is not None] for shape in shapes]
    spatial = next((shape[2:] for a, shape in zip(entry.inputs, whole, strict=True) if "H" in a), 0)
    spatial = spatial or [math.isqrt(whole[0][1])] * 2
    for option, one in known.items():
        if option in made:
            continue
        if option in entry.input_sizes and (sizes or one.required or one.default is None):
            made[option] = spatial
        elif one.required:
            if option not in USUAL:
                raise ValueError(f"{entry.name} needs the option --{option}")
            made[option] = USUAL[option]
    return Request(
        name=entry.name if name.lower() == entry.name.lower() else name,
        options=made,
        input_widths=widths,
        axes=entry.inputs,
        shapes=whole,
        input_grads=entry.kind != "backbones",
        seconds=seconds,
    )


def _width(
    made: Mapping[str, Any],
    known: Mapping[str, options.Option],
    widths: Sequence[str],
    own: int | None,
    position: int,
) -> int:
    """The width of the input at a position, as the options say it."""
    for option in widths if own is None else [widths[own]]:
        value = made.get(option, known[option].default)
        if isinstance(value, (list, tuple)):
            return int(value[position % len(value)])
        if value is not None:
            return int(value)
    return WIDTH
