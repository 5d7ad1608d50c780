"""What a player is: one runtime, in a process of its own, that does what the referee asks."""

import gc
import importlib
import importlib.util
import inspect
import os
import sys
import tempfile
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiattn.verify import protocol
from multiattn.weights import load_state_dict, load_weights, save_weights, state_dict

Array = NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Setup:
    """What a module is made from.

    Args:
        implementation: "package.module:Class", or "path/to/file.py:Class".
        options: as the case has them.
        widths: the options that only state an input's width.
        axes: of each input, in PyTorch's order.
        output_axes: of each output.
        free: of each input, whether its sizes may be others.
        method: what is called instead of the module.
    """

    implementation: str
    options: Mapping[str, Any]
    widths: Sequence[str]
    axes: Sequence[str]
    output_axes: Sequence[str]
    free: Sequence[bool]
    method: str | None = None

    def cls(self) -> Any:
        """The class."""
        where, _, name = self.implementation.rpartition(":")
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        return getattr(module, name)


@dataclass
class Step:
    """What a call and its gradients gave."""

    outputs: list[Array]
    input_grads: list[Array]
    param_grads: Arrays


# A way of calling a module, such as compiled, and what it needs to be called with.
Way = Callable[[list[Array]], list[Array]]


def is_image(axes: str) -> bool:
    """Whether channels stand second in PyTorch, and last in the other frameworks."""
    return axes.startswith("NC") and len(axes) > 2


def size_axes(axes: str) -> range:
    """The axes along which an input has its size: an image's height and width, a list's length."""
    return range(2, len(axes)) if is_image(axes) else range(1, 2) if axes == "NLC" else range(0)


def to_last(array: Array, axes: str) -> Array:
    """From PyTorch's order of axes to channels last."""
    return np.moveaxis(array, 1, -1) if is_image(axes) else array


def to_first(array: Array, axes: str) -> Array:
    """From channels last to PyTorch's order of axes."""
    return np.moveaxis(array, -1, 1) if is_image(axes) else array


class Player(ABC):
    """One runtime. Arrays that come and go are in PyTorch's layout."""

    def __init__(self) -> None:
        self.setup: Setup
        self.module: Any

    @abstractmethod
    def make(self, precision: str, inputs: list[Array]) -> Any:
        """A new module of ``self.setup`` of this dtype, initialisers off, in evaluation mode."""

    @abstractmethod
    def forward(self, module: Any, inputs: list[Array]) -> list[Array]:
        """The outputs in evaluation mode."""

    @abstractmethod
    def step(
        self, module: Any, inputs: list[Array], cotangents: list[Array], training: bool
    ) -> Step:
        """Outputs, and gradients of the sum of outputs times cotangents; buffers are updated."""

    @abstractmethod
    def compiled(self, module: Any, inputs: list[Array]) -> dict[str, Way | str]:
        """The compiled ways of calling the module, or why there is none."""

    @abstractmethod
    def unknown_sizes(self, module: Any, inputs: list[Array]) -> dict[str, Way | str]:
        """Ways made without knowing the batch and the sizes of those inputs that are free."""

    @abstractmethod
    def restored(self, module: Any, inputs: list[Array], folder: Path) -> Any:
        """A new module that the framework's own saving has restored."""

    @abstractmethod
    def mixed_precision(self, inputs: list[Array], state: Arrays) -> dict[str, list[Array]]:
        """Outputs by the framework's way of reducing precision to bfloat16."""

    def call(self, module: Any, *inputs: Any, **mode: Any) -> list[Any]:
        """Calls the module, or the case's method with what it takes."""
        if self.setup.method is None:
            outputs = module(*inputs, **mode)
        else:
            method = getattr(module, self.setup.method)
            takes = inspect.signature(method).parameters
            mode = {key: value for key, value in mode.items() if key in takes}
            outputs = method(*inputs, **mode) if set(takes) - {"training"} else method(**mode)
        return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]

    # What the referee can ask. Each takes the message and its arrays and gives such a pair.

    def do_make(self, message: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        self.setup = Setup(**message["setup"])
        inputs = protocol.pick_list("input", arrays)
        self.module = self.make(message["dtype"], inputs)
        report = load_state_dict(self.module, protocol.pick("state", arrays))
        shapes = {name: array.shape for name, array in state_dict(self.module).items()}
        return {"renamed": report.renamed, "state": shapes}, {}

    def do_forward(self, message: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        outputs = self.forward(self.module, protocol.pick_list("input", arrays))
        return {}, protocol.numbered("output", outputs)

    def do_step(self, message: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        before = state_dict(self.module)
        step = self.step(
            self.module,
            protocol.pick_list("input", arrays),
            protocol.pick_list("cotangent", arrays),
            message["training"],
        )
        after = state_dict(self.module)
        load_state_dict(self.module, before)
        return {}, {
            **protocol.numbered("output", step.outputs),
            **protocol.numbered("input_grad", step.input_grads),
            **protocol.named("param_grad", step.param_grads),
            **protocol.named(
                "buffer", {k: v for k, v in after.items() if k not in step.param_grads}
            ),
        }

    def do_compiled(self, message: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        inputs = protocol.pick_list("input", arrays)
        return self._ways(self.compiled(self.module, inputs), inputs)

    def do_unknown_sizes(
        self, message: dict[str, Any], arrays: Arrays
    ) -> tuple[dict[str, Any], Arrays]:
        """Made for the inputs ``input``, called with the inputs ``other``."""
        inputs = protocol.pick_list("input", arrays)
        ways = self.unknown_sizes(self.module, inputs)
        return self._ways(ways, protocol.pick_list("other", arrays))

    def _ways(
        self, ways: dict[str, Way | str], inputs: list[Array]
    ) -> tuple[dict[str, Any], Arrays]:
        absent = {name: way for name, way in ways.items() if isinstance(way, str)}
        arrays: Arrays = {}
        for name, way in ways.items():
            if not isinstance(way, str):
                arrays |= protocol.named(name, protocol.numbered("output", way(inputs)))
        return {"ways": [name for name in ways if name not in absent], "absent": absent}, arrays

    def do_save(self, message: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        save_weights(self.module, message["path"])
        return {}, {}

    def do_reload(self, message: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        """Loads a file into a new module, saves that."""
        module = self.make(message["dtype"], protocol.pick_list("input", arrays))
        load_weights(module, message["source"])
        save_weights(module, message["path"])
        return {}, {}

    def do_restored(self, message: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        inputs = protocol.pick_list("input", arrays)
        with tempfile.TemporaryDirectory() as folder:
            module = self.restored(self.module, inputs, Path(folder))
            return {}, {
                **protocol.numbered("output", self.forward(module, inputs)),
                **protocol.named("restored", state_dict(module)),
                **protocol.named("state", state_dict(self.module)),
            }

    def do_mixed_precision(
        self, message: dict[str, Any], arrays: Arrays
    ) -> tuple[dict[str, Any], Arrays]:
        results = self.mixed_precision(
            protocol.pick_list("input", arrays), protocol.pick("state", arrays)
        )
        dtypes = {way: [str(x.dtype) for x in outputs] for way, outputs in results.items()}
        return {"dtypes": dtypes}, {
            name: array.astype(np.float32)
            for way, outputs in results.items()
            for name, array in protocol.named(way, protocol.numbered("output", outputs)).items()
        }


def serve(player_class: type[Player]) -> None:
    """Answers the referee until it hangs up. What frameworks print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    player = player_class()
    # a module is many objects, which the collector need not go through again and again
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    protocol.send(answers, {"ready": True})
    while (request := protocol.receive(sys.stdin.buffer)) is not None:
        message, arrays = request
        try:
            reply, results = getattr(player, f"do_{message['op']}")(message, arrays)
            protocol.send(answers, reply, results)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            protocol.send(answers, {"error": text, "traceback": traceback.format_exc()})
