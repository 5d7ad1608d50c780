"""Option checks that the three trees share, so that a mistake reads the same in each of them.

Every check takes the module as its first argument; the error names the module's class, the option
and the value.
"""

from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import NoReturn


def installed(framework: str) -> None:
    """The framework must be installed; its extra has its name."""
    if find_spec(framework) is None:
        raise ImportError(f'{framework} is not installed: pip install "multiattn[{framework}]"')


def fail(module: object, what: str) -> NoReturn:
    """Raises the one kind of error that a module raises on a bad option or input."""
    raise ValueError(f"{type(module).__name__}: {what}")


def positive(module: object, **options: float | Sequence[float]) -> None:
    """Every option, or each of its elements, must be greater than zero."""
    for name, value in options.items():
        if not all(one > 0 for one in (value if isinstance(value, Sequence) else (value,))):
            fail(module, f"{name} ({value}) must be positive")


def odd(module: object, **options: int) -> None:
    """Every option must be an odd positive integer."""
    for name, value in options.items():
        if value < 1 or value % 2 == 0:
            fail(module, f"{name} ({value}) must be odd and positive")


def choice(module: object, allowed: Collection[object], **options: object) -> None:
    """Every option must be one of the allowed values."""
    for name, value in options.items():
        if value not in allowed:
            listed = ", ".join(repr(one) for one in allowed)
            fail(module, f"{name} ({value!r}) must be one of {listed}")


def divisible(module: object, *, by: str, **options: int) -> None:
    """Every option must be a multiple of the one named by ``by``."""
    divisor = options.pop(by)
    positive(module, **{by: divisor})
    for name, value in options.items():
        if value % divisor:
            fail(module, f"{name} ({value}) must be divisible by {by} ({divisor})")


def quotient(module: object, **options: float) -> int:
    """The first option divided by the second, rounded down; it must be at least 1."""
    (name, value), (divisor_name, divisor) = options.items()
    positive(module, **options)
    result = int(value // divisor)
    if result < 1:
        fail(module, f"{divisor_name} ({divisor}) must not exceed {name} ({value})")
    return result


def sizes(module: object, expected: Sequence[int | None], **inputs: Sequence[int | None]) -> None:
    """Every input must have the expected size; None stands for a size that isn't known yet."""
    for name, actual in inputs.items():
        if len(actual) != len(expected) or any(
            isinstance(a, int) and isinstance(b, int) and a != b
            for a, b in zip(actual, expected, strict=True)
        ):
            fail(module, f"{name} has size {tuple(actual)}, expected {tuple(expected)}")


def larger(module: object, than: int, **inputs: Sequence[int | None]) -> None:
    """Every size of every input must be larger than a number, as far as it is known."""
    for name, size in inputs.items():
        if any(isinstance(n, int) and n <= than for n in size):
            fail(module, f"{name} has size {tuple(size)}, expected more than {than} each way")


def several(module: object, **inputs: Sequence[int | None]) -> None:
    """Every input's size must make more than one position, as far as it is known."""
    for name, size in inputs.items():
        if all(isinstance(n, int) and n == 1 for n in size):
            fail(module, f"{name} has size {tuple(size)}, expected more than one position")


def nonempty(module: object, **options: Collection[object]) -> None:
    """Every option must have at least one element."""
    for name, value in options.items():
        if not len(value):
            fail(module, f"{name} must not be empty")


def length(module: object, count: int, **options: Collection[object]) -> None:
    """Every option must have so many elements."""
    for name, value in options.items():
        if not isinstance(value, Collection) or len(value) != count:
            fail(module, f"{name} ({value!r}) must have {count} elements")
