"""Conformance cases: what they hold, and the arrays that they name instead of storing."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DEFAULT_FOLDER = Path(__file__).parents[2] / "conformance" / "cases"


def draw(key: str, shape: Sequence[int], fill: str) -> Array:
    """The array of a key: drawn from a stream that NumPy keeps frozen.

    Args:
        key: its checksum is the seed.
        shape: of the array.
        fill: the distribution's name; conformance/README.md lists them.
    """
    random = np.random.RandomState(zlib.crc32(key.encode()))
    if fill == "zeros":
        return np.zeros(shape)
    kind, _, count = fill.partition(":")
    if kind in ("uniform", "variance", "integers"):
        values = random.random_sample(tuple(shape))
        return {
            "uniform": lambda: values,
            "variance": lambda: 0.5 + values,
            "integers": lambda: np.floor(int(count) * values),
        }[kind]()
    values = random.standard_normal(tuple(shape))
    return {
        "normal": lambda: values,
        "weight": lambda: values / np.sqrt(max(1, int(np.prod(shape[1:])))),
        "scale": lambda: 1 + 0.1 * values,
        "bias": lambda: 0.1 * values,
        "plain": lambda: 0.5 + 0.1 * values,
    }[fill]()


@dataclass(frozen=True)
class Case:
    """One configuration of a module with the original's figures.

    Args:
        module: the name of the case's file; it begins the keys of the arrays.
        cls: the class that is to be checked.
        data: the case as its file has it.
    """

    module: str
    cls: str
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.data["options"])

    @property
    def axes(self) -> list[str]:
        """The axes of each input."""
        return [one["axes"] for one in self.data["inputs"]]

    @property
    def output_axes(self) -> list[str]:
        return list(self.data["output_axes"])

    @property
    def expected(self) -> Mapping[str, Any]:
        return self.data["expected"]

    @property
    def training(self) -> bool:
        """Whether gradients are taken in training mode."""
        return self.data.get("mode") != "eval"

    @property
    def method(self) -> str | None:
        """The method that is called instead of the module."""
        return self.data.get("method")

    def draw(self, name: str, shape: Sequence[int], fill: str = "normal") -> Array:
        """The array of this case with this name."""
        return draw(f"{self.module}/{self.id}/{name}", shape, fill)

    @cached_property
    def inputs(self) -> list[NDArray[Any]]:
        return self.inputs_of([one["shape"] for one in self.data["inputs"]])

    def inputs_of(self, shapes: Sequence[Sequence[int]]) -> list[NDArray[Any]]:
        """The inputs with other shapes."""
        arrays = []
        for index, (one, shape) in enumerate(zip(self.data["inputs"], shapes, strict=True)):
            array = self.draw(f"input.{index}", shape, one["fill"])
            arrays.append(array.astype(np.int32) if one["fill"].startswith("integers") else array)
        return arrays

    @cached_property
    def state(self) -> dict[str, Array]:
        """The original's state, under its own names."""
        return {
            one["name"]: self.draw(one["name"], one["shape"], one["fill"])
            for one in self.data["state"]
        }

    def cotangents(self) -> list[Array]:
        """What the floating outputs are multiplied with before they are summed."""
        outputs = self.expected["train" if self.training else "eval"]
        return [self.draw(f"cotangent.{k}", one["shape"]) for k, one in enumerate(outputs)]

    def probe(self, name: str) -> Array:
        """What the gradient of the state's tensor of this name is multiplied with."""
        return self.draw(f"{name}/probe", self.state[name].shape)


def read_cases(folder: Path, names: Sequence[str] = ()) -> Iterator[Case]:
    """The cases of a folder, of the named modules or of all.

    Raises:
        ValueError: a module without cases.
    """
    files = {file.stem: file for file in sorted(folder.glob("*.json"))}
    if missing := [name for name in names if name not in files]:
        raise ValueError(f"{folder} has no cases of {', '.join(missing)}")
    for name in names or files:
        content = json.loads(files[name].read_text("utf-8"))
        for data in content["cases"]:
            yield Case(name, content.get("class", name), data)


def sample(array: NDArray[Any], count: int) -> Array:
    """The elements that a case keeps of an array, in row-major order."""
    flat = np.asarray(array, np.float64).reshape(-1)
    if flat.size <= count:
        return flat
    return flat[np.linspace(0, flat.size - 1, count).astype(np.int64)]
