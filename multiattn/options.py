"""A module's options seen from outside: in its source, on the command line, in a file's shapes."""

import ast
import importlib
import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from typing import Any

import numpy as np

from multiattn.catalog import Entry
from multiattn.weights import LoadError, Report, fit
from multiattn.weights.layout import Array
from multiattn.weights.walk import inventory

# What a checkpoint of a published network may have otherwise.
WIDTHS = ("num_classes", "in_channels")


@dataclass(frozen=True)
class Option:
    """An argument of a module's constructor.

    Args:
        annotation: of its type, as it is written.
        required: whether it has to be given.
        default: its value otherwise.
    """

    annotation: str
    required: bool
    default: Any


def _arguments(entry: Entry) -> ast.arguments:
    """The constructor's arguments in the PyTorch tree, which is read and not imported."""
    for file in (resources.files("multiattn") / "torch" / entry.kind).iterdir():
        if file.name.endswith(".py"):
            for node in ast.parse(file.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name == entry.name:
                    for member in node.body:
                        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                            return member.args
    raise ValueError(f"{entry.name} has no source")


def signature(entry: Entry) -> str:
    """The options with their defaults, as they are written."""
    return ast.unparse(_arguments(entry)).removeprefix("self, ").removeprefix("self")


def known(entry: Entry) -> dict[str, Option]:
    """The module's options by name."""
    arguments = _arguments(entry)
    positional = arguments.args[1:]
    without = [None] * (len(positional) - len(arguments.defaults))
    pairs = [
        *zip(positional, [*without, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {
        argument.arg: Option(
            ast.unparse(argument.annotation) if argument.annotation else "",
            default is None,
            ast.literal_eval(default) if default else None,
        )
        for argument, default in pairs
    }


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Options from a command line: ``--channels 64 --pool_types "['avg']" --mode=gaussian``.

    Raises:
        ValueError: a word that is no option, or an option without a value.
    """
    options: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise ValueError(f"unexpected argument {word!r}")
        if not equals:
            value = next(rest, "")
            if not value or value.startswith("--"):
                raise ValueError(f"option {word} has no value")
        try:
            literal = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            literal = {"true": True, "false": False, "none": None}.get(value.lower(), value)
        options[name.replace("-", "_")] = literal
    return options


def make(entry: Entry, options: Mapping[str, Any]) -> object:
    """A module without values, in the first framework that is installed: for names and shapes.

    Raises:
        ImportError: no framework is installed.
        ValueError: the options are not accepted.
    """
    try:
        if find_spec("torch"):
            torch = importlib.import_module("torch")
            with torch.device("meta"):
                return getattr(importlib.import_module("multiattn.torch"), entry.name)(**options)
        if find_spec("flax"):
            nnx = importlib.import_module("flax.nnx")
            cls = getattr(importlib.import_module("multiattn.flax"), entry.name)
            return nnx.eval_shape(lambda: cls(**options, rngs=nnx.Rngs(0)))
        if find_spec("keras"):
            return keras_model(entry, options)
    except TypeError as error:
        raise ValueError(str(error).replace("__init__()", entry.name)) from error
    raise ImportError('no framework is installed: pip install "multiattn[torch]"')


def keras_model(entry: Entry, options: Mapping[str, Any]) -> Any:
    """A Keras model that consists of the module, for inputs of any size that it allows.

    Raises:
        ValueError: the options don't say how wide the inputs are.
    """
    keras = importlib.import_module("keras")
    cls = getattr(importlib.import_module("multiattn.keras"), entry.name)
    values = {**{name: one.default for name, one in known(entry).items()}, **options}
    width = next((values[name] for name in entry.input_widths if values.get(name)), None)
    if width is None:
        names = ", ".join(entry.input_widths)
        raise ValueError(f"{entry.name}: a Keras model needs one of {names}")
    widths = width if isinstance(width, (list, tuple)) else [width] * len(entry.inputs)
    size = next((values[name] for name in entry.input_sizes if values.get(name)), None)
    sizes = [size, size] if isinstance(size, int) else size
    inputs = [
        keras.Input((*(sizes or [None] * (len(axes) - 2)), width))
        for axes, width in zip(entry.inputs, widths, strict=True)
    ]
    module = cls(**{name: v for name, v in options.items() if name not in entry.input_widths})
    return keras.Model(inputs, module(*inputs))


def infer(
    entry: Entry,
    given: Mapping[str, Any],
    state: Mapping[str, Array],
    only: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Options under which the module has the state's names and shapes.

    Args:
        entry: the module.
        given: options that are known; the others are looked for among the sizes in the state.
        state: of a file.
        only: the options that are looked for; None for all.

    Raises:
        LoadError: none were found; the report is that of the best attempt.
    """
    annotations = {name: one.annotation for name, one in known(entry).items()}
    required = [n for n, one in known(entry).items() if one.required and n not in given]
    shapes = {
        name: np.broadcast_to(array.dtype.type(0), array.shape) for name, array in state.items()
    }
    sizes = sorted({*range(1, 9), *(size for array in state.values() for size in array.shape)})

    def attempt(options: Mapping[str, Any]) -> tuple[int, LoadError | None]:
        try:
            fit(make(entry, options), shapes)
        except LoadError as error:
            return _distance(error.report), error
        except ValueError:
            return sys.maxsize, None
        return 0, None

    starts = [{**given, **dict.fromkeys(required, size)} for size in reversed(sizes)]
    options = min(starts, key=lambda one: attempt(one)[0])
    distance, error = attempt(options)
    while distance:
        tries = [
            {**options, name: value}
            for name in annotations.keys() - given.keys()
            if only is None or name in only
            for value in _candidates(annotations[name], sizes)
        ]
        options = min(tries, key=lambda one: attempt(one)[0], default=options)
        before, (distance, error) = distance, attempt(options)
        if distance >= before:
            raise error or ValueError(f"{entry.name}: no options suit this file, give some")
    return options


def _distance(report: Report) -> int:
    """How far a state is from fitting: in names, and in the sizes of axes."""
    off = sum(
        sum(a != b for a, b in itertools.zip_longest(source, target))
        for source, target in report.wrong_shape.values()
    )
    return off + 4 * len(report.missing + report.unexpected)


def _candidates(annotation: str, sizes: Sequence[int]) -> Iterable[Any]:
    """Values to try for an option: the sizes themselves, and how often they go into each other."""
    if annotation == "bool":
        return True, False
    if annotation.startswith(("int", "float")):
        ratios = {a // b for a in sizes for b in sizes if b and a > b}
        factors = {b / a for a in sizes for b in sizes if a > b} if "float" in annotation else set()
        return sorted({*sizes, *ratios, *factors})
    return ()


def parameters(entry: Entry, options: Mapping[str, Any]) -> int:
    """How many learned and running values the module holds."""
    return sum(math.prod(slot.shape) for slot in inventory(make(entry, options)).slots.values())
