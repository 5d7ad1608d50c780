"""The Keras player, on the backend that the environment names."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"

import keras
import numpy as np
from keras import ops
from keras.src.backend.common import dtypes

from multiattn.keras.nn import initializers
from multiattn.verify.player import (
    Array,
    Arrays,
    Player,
    Step,
    Way,
    serve,
    size_axes,
    to_first,
    to_last,
)
from multiattn.verify.players import use_compilation_cache
from multiattn.weights import load_state_dict, port
from multiattn.weights.walk import inventory

# Keras computes some operators in float32 on JAX and PyTorch whatever it is given. To compare the
# modules' arithmetic in float64 that is lifted here, in this process; the library itself doesn't.
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"

Tensors = list[Any]
Function = Callable[..., Any]
Loss = Callable[[Tensors], tuple[Any, Tensors]]


class KerasPlayer(Player):
    def __init__(self) -> None:
        super().__init__()
        self.backend: Any = BACKENDS[keras.backend.backend()]()
        self.wrapped: tuple[Any, keras.Model] | None = None

    def make(self, precision: str, inputs: list[Array]) -> keras.layers.Layer:
        shapes = [x.shape for x in self.own(inputs)]
        return self.built(
            precision,
            [keras.KerasTensor(s, str(x.dtype)) for s, x in zip(shapes, inputs, strict=True)],
        )[0]

    def built(self, dtype: str, symbols: list[keras.KerasTensor]) -> tuple[Any, Any]:
        """A module made and called on symbolic inputs, with what the call gave."""
        options = {k: v for k, v in self.setup.options.items() if k not in self.setup.widths}
        with initializers.skipped():
            module = self.setup.cls()(**options, dtype=dtype)
            return module, module(*symbols)

    def own(self, arrays: list[Array]) -> list[Array]:
        return [to_last(x, a) for x, a in zip(arrays, self.setup.axes, strict=True)]

    def canonical(self, outputs: Sequence[Any]) -> list[Array]:
        pairs = zip(outputs, self.setup.output_axes, strict=True)
        return [to_first(to_numpy(x), a) for x, a in pairs]

    def tensors(self, arrays: list[Array]) -> Tensors:
        return [ops.convert_to_tensor(x) for x in self.own(arrays)]

    def forward(self, module: Any, inputs: list[Array]) -> list[Array]:
        outputs = self.backend.forward(self.plain(module), module, self.tensors(inputs))
        return self.canonical(outputs)

    def plain(self, module: Any) -> Function:
        """The plain call in evaluation mode."""
        return lambda *xs: self.call(module, *xs, training=False)

    def step(
        self, module: Any, inputs: list[Array], cotangents: list[Array], training: bool
    ) -> Step:
        slots = [(n, s) for n, s in inventory(module).slots.items() if s.variable.trainable]
        weights = [to_last(c, a) for c, a in zip(cotangents, self.setup.output_axes, strict=True)]
        floating = [x.dtype.kind == "f" for x in inputs]

        weights = [ops.convert_to_tensor(w) for w in weights]
        xs = self.tensors(inputs)

        def loss(sources: Tensors) -> tuple[Any, Tensors]:
            rest = iter(sources)
            mixed = [next(rest) if one else x for x, one in zip(xs, floating, strict=True)]
            outputs = self.call(module, *mixed, training=training)
            pairs = zip(outputs, weights, strict=True)
            return sum(ops.sum(o * w) for o, w in pairs if is_float(o)), outputs

        sources = [x for x, one in zip(xs, floating, strict=True) if one]
        variables = [slot.variable for _, slot in slots]
        outputs, input_grads, grads = self.backend.gradients(loss, module, variables, sources)
        axes = [a for a, one in zip(self.setup.axes, floating, strict=True) if one]
        return Step(
            self.canonical(outputs),
            [to_first(to_numpy(g), a) for g, a in zip(input_grads, axes, strict=True)],
            {n: s.canonical(to_numpy(g)) for (n, s), g in zip(slots, grads, strict=True)},
        )

    def compiled(self, module: Any, inputs: list[Array]) -> dict[str, Way | str]:
        ways = self.backend.compiled(self.plain(module))
        return {name: self.way(function) for name, function in ways.items()}

    def unknown_sizes(self, module: Any, inputs: list[Array]) -> dict[str, Way | str]:
        if self.setup.method is not None:
            return {"functional model": "the case calls a method"}
        model = self.functional(module, inputs)
        ways = {
            "functional model": lambda *xs: model(list(xs)),
            **self.backend.unknown_sizes(model),
        }
        return {name: self.way(function) for name, function in ways.items()}

    def way(self, function: Function) -> Way:
        def call(arrays: list[Array]) -> list[Array]:
            outputs = function(*self.tensors(arrays))
            return self.canonical(outputs if isinstance(outputs, (list, tuple)) else [outputs])

        return call

    def functional(self, module: Any, inputs: list[Array]) -> keras.Model:
        """A float32 model around a new module of the same weights; free inputs' sizes unknown.

        It is made once for a module.
        """
        if self.wrapped and self.wrapped[0] is module:
            return self.wrapped[1]
        symbols = [
            keras.Input(
                [None if free and size_axes(a) else n for n in x.shape[1:-1]] + [x.shape[-1]],
                batch_size=None if len(x) == len(inputs[0]) else len(x),
                dtype=str(x.dtype),
            )
            for x, a, free in zip(self.own(inputs), self.setup.axes, self.setup.free, strict=True)
        ]
        inner, outputs = self.built("float32", symbols)
        port(module, inner)
        model = keras.Model(symbols, outputs)
        self.wrapped = module, model
        return model

    def restored(self, module: Any, inputs: list[Array], folder: Path) -> Any:
        model = self.functional(module, inputs)
        model.save(folder / "model.keras")
        cls, name = type(module), model.layers[-1].name
        loaded = keras.saving.load_model(folder / "model.keras", custom_objects={cls.__name__: cls})
        return loaded.get_layer(name)

    def mixed_precision(self, inputs: list[Array], state: Arrays) -> dict[str, list[Array]]:
        module = self.make("mixed_bfloat16", inputs)
        load_state_dict(module, state)
        return {"mixed_bfloat16": self.forward(module, inputs)}


def is_float(tensor: Any) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))


def to_numpy(tensor: Any) -> Array:
    # TensorFlow's scalars in bfloat16 don't convert, one-element tensors do
    return np.asarray(ops.convert_to_numpy(ops.expand_dims(tensor, 0)))[0]


class TensorFlow:
    def __init__(self) -> None:
        import tensorflow

        self.tf = tensorflow
        self.tf.config.threading.set_inter_op_parallelism_threads(1)
        self.tf.config.threading.set_intra_op_parallelism_threads(1)

    def forward(self, function: Function, module: Any, inputs: Tensors) -> Tensors:
        return function(*inputs)

    def gradients(
        self, loss: Loss, module: Any, variables: list[keras.Variable], sources: Tensors
    ) -> tuple[Tensors, Tensors, Tensors]:
        def step(sources: Tensors) -> tuple[Tensors, Tensors, Tensors]:
            with self.tf.GradientTape() as tape:
                tape.watch(sources)
                total, outputs = loss(sources)
            values = [variable.value for variable in variables]
            gradients = tape.gradient(total, [sources, values], unconnected_gradients="zero")
            return outputs, *gradients

        before = [variable.numpy() for variable in module.non_trainable_variables]
        try:
            return step(sources)
        except (self.tf.errors.UnimplementedError, self.tf.errors.InvalidArgumentError):
            # On the CPU, grouped convolutions have a float64 gradient under XLA only.
            for variable, value in zip(module.non_trainable_variables, before, strict=True):
                variable.assign(value)
            return self.tf.function(step, jit_compile=True)(sources)

    def compiled(self, function: Function) -> dict[str, Function]:
        return {"tf.function(jit_compile=True)": self.tf.function(function, jit_compile=True)}

    def unknown_sizes(self, model: keras.Model) -> dict[str, Function]:
        signature = [self.tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
        traced = self.tf.function(lambda *xs: model(list(xs)), input_signature=signature)
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, format="tf_saved_model", verbose=False)
            saved = self.tf.saved_model.load(folder)
        return {
            "tf.function": traced,
            "SavedModel": lambda *xs: saved.serve(list(xs)),
        }


class JAX:
    def __init__(self) -> None:
        import jax

        self.jax = jax
        use_compilation_cache(jax)

    def forward(self, function: Function, module: Any, inputs: Tensors) -> Tensors:
        variables = module.variables

        @self.jax.jit
        def pure(values: Tensors, *xs: Any) -> Tensors:
            with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
                return function(*xs)

        return pure([variable.value for variable in variables], *inputs)

    def gradients(
        self, loss: Loss, module: Any, variables: list[keras.Variable], sources: Tensors
    ) -> tuple[Tensors, Tensors, Tensors]:
        trainable = {id(variable) for variable in variables}
        others = [v for v in module.variables if id(v) not in trainable]

        def pure(sources: Tensors, values: Tensors, rest: Tensors) -> Any:
            mapping = zip([*variables, *others], [*values, *rest], strict=True)
            with keras.StatelessScope(state_mapping=mapping) as scope:
                total, outputs = loss(sources)
            return total, (outputs, [scope.get_current_value(v) for v in others])

        gradient = self.jax.jit(self.jax.grad(pure, argnums=(0, 1), has_aux=True))
        (input_grads, grads), (outputs, after) = gradient(
            sources, [v.value for v in variables], [v.value for v in others]
        )
        for variable, value in zip(others, after, strict=True):
            variable.assign(value)
        return outputs, input_grads, grads

    def compiled(self, function: Function) -> dict[str, Function]:
        """The forward pass is jitted already: this is the plain call that it must agree with."""
        return {"jax.jit": function}

    def unknown_sizes(self, model: keras.Model) -> dict[str, Function]:
        return {}


class Torch:
    def __init__(self) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(1)

    def forward(self, function: Function, module: Any, inputs: Tensors) -> Tensors:
        with self.torch.no_grad():
            return function(*inputs)

    def gradients(
        self, loss: Loss, module: Any, variables: list[keras.Variable], sources: Tensors
    ) -> tuple[Tensors, Tensors, Tensors]:
        sources = [x.requires_grad_() for x in sources]
        total, outputs = loss(sources)
        values = [variable.value for variable in variables]
        gradients = self.torch.autograd.grad(
            total, sources + values, allow_unused=True, materialize_grads=True
        )
        return outputs, gradients[: len(sources)], gradients[len(sources) :]

    def compiled(self, function: Function) -> dict[str, Function]:
        # Keras leaves torch.compile off on this backend: tracing its own layers takes it half a
        # minute a module.
        class Call(self.torch.nn.Module):  # type: ignore[name-defined]
            def forward(self, *xs: Any) -> Any:
                return function(*xs)

        def exported(*xs: Any) -> Any:
            return self.torch.export.export(Call(), xs, strict=False).module()(*xs)

        return {"torch.export": exported}

    def unknown_sizes(self, model: keras.Model) -> dict[str, Function]:
        return {}


BACKENDS = {"tensorflow": TensorFlow, "jax": JAX, "torch": Torch}

if __name__ == "__main__":
    serve(KerasPlayer)
