"""What every layer here shares: how files describe it, and how a module is built."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import keras
from keras import tree
from keras.src import backend
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

# The batch, then sizes by the number of spatial axes: squares for tokens, what 7 and 8 divide
_SIZES = ((2, 64, 56, 28), (4, 256, 112, 56))


def _own_variables(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """The variables that a layer itself holds, by attribute (`_kernel` counts as `kernel`)."""
    members = vars(layer).items()
    return {name.lstrip("_"): v for name, v in members if isinstance(v, keras.Variable)}


def _recording(init: Callable) -> Callable:
    """A constructor that keeps its arguments for the layer's config."""
    signature = inspect.signature(init)
    own, *parameters = signature.parameters.values()

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        options = dict(bound.arguments)
        del options[own.name]
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                options.update(options.pop(parameter.name))
        vars(self)["_options"] = options  # an inner constructor's record gives way; not tracked

    __init__.__signature__ = signature  # type: ignore[attr-defined]  # Keras does not follow __wrapped__
    return __init__


def _building(setup: Callable) -> Callable:
    """A `build` of the same signature, which Keras reads."""
    signature = inspect.signature(setup)

    @functools.wraps(setup)
    def build(self, *args, **kwargs):
        shapes = dict(signature.bind(self, *args, **kwargs).arguments)
        shapes = {name: s for name, s in list(shapes.items())[1:] if s is not None}
        first = next(iter(shapes.values()))
        policy = keras.config.dtype_policy()
        filtering = keras.config.is_traceback_filtering_enabled()
        keras.config.set_dtype_policy(self.dtype_policy)
        keras.config.disable_traceback_filtering()  # it words an error anew at each level
        try:
            setup(self, **shapes)
            if not self.trainable:
                for layer in self._layers:
                    layer.trainable = False
            sublayers = self._flatten_layers(include_self=False)
            # within an outer module's trace, the call that follows builds them
            if not in_symbolic_scope() and not all(layer.built for layer in sublayers):
                inputs = self._inputs(first) if len(shapes) == 1 else self._inputs(**shapes)
                with backend.AutocastScope(self.compute_dtype):
                    self._spec(inputs, trial=0)
        finally:
            keras.config.set_dtype_policy(policy)
            if filtering:
                keras.config.enable_traceback_filtering()
        self.input_spec = tree.map_shape_structure(
            lambda shape: keras.InputSpec(ndim=len(shape), axes={-1: shape[-1]}), first
        )

    build.__name__ = "build"
    return build


class SelfDescribing:
    """Mixin for layers: the config is the constructor's arguments, weights are saved by name.

    The arguments recorded are those of the outermost class: a user's subclass that fixes some of
    ours is described by its own. Classes of this package are registered for loading.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.__module__.split(".")[0] == __name__.split(".")[0]:
            keras.saving.register_keras_serializable("multiattn")(cls)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)

    def get_config(self) -> dict[str, Any]:
        options = {
            name: keras.saving.get_registered_name(value) if isinstance(value, type) else value
            for name, value in vars(self)["_options"].items()
        }
        return {**options, **keras.layers.Layer.get_config(self)}

    def save_own_variables(self, store):
        for name, variable in _own_variables(self).items():
            store[name] = variable

    def load_own_variables(self, store):
        variables = _own_variables(self)
        if set(store.keys()) != set(variables):
            raise ValueError(
                f"{type(self).__name__} ({self.name}): the file has {sorted(store.keys())}, "
                f"the layer {sorted(variables) if self.built else 'is not built'}"
            )
        for name, variable in variables.items():
            variable.assign(store[name])


def method(function: Callable) -> Callable:
    """A further method that computes: it builds the module if need be, and has its dtype."""

    @functools.wraps(function)
    def call(self, x, *args, **kwargs):
        if not self.built:
            self.build(x.shape)
            self.built = True
        with backend.AutocastScope(self.compute_dtype):
            return function(self, x, *args, **kwargs)

    return call


class Module(SelfDescribing, keras.layers.Layer):
    """Base class of the modules: `setup` makes the sublayers and weights, `call` computes.

    A subclass writes `setup(self, shape)` or, for several inputs, `setup(self, x_shape, y_shape)`:
    the names of `call`'s arguments with `_shape` appended, optional ones with the default None;
    for `call(self, *inputs)` it is `setup(self, inputs_shape)`, with a tuple of shapes.
    What `setup` makes has the module's dtype policy, and is built when the module is.

    Attributes:
        input_strides: for inputs whose unknown sizes differ, the stride of each, by its name in
            `call`: of `{"high": 1, "low": 2}`, `low` has half the height and width of `high`.
    """

    input_strides: ClassVar[dict[str, int]] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "setup" in vars(cls):
            cls.build = _building(cls.setup)

    def __init__(self, **kwargs):
        if keras.config.image_data_format() != "channels_last":
            raise ValueError(
                f"{type(self).__name__}: image_data_format must be 'channels_last', "
                f"got {keras.config.image_data_format()!r}"
            )
        super().__init__(**kwargs)

    def setup(self, shape):
        """Makes sublayers and weights for an input of this shape, in which None is unknown."""

    build = _building(setup)

    def compute_output_shape(self, *shapes, **named_shapes):
        spec = self._common_spec(self._inputs(*shapes, **named_shapes))
        return tree.map_structure(lambda x: x.shape, spec)

    def compute_output_spec(self, *args, **kwargs):
        return self._common_spec(inspect.signature(self.call).bind(*args, **kwargs).arguments)

    def _common_spec(self, inputs: dict[str, Any]) -> Any:
        symbols = [x for x in tree.flatten(inputs) if isinstance(x, keras.KerasTensor)]
        spec = self._spec(inputs, trial=0)
        if not any(None in symbol.shape for symbol in symbols):
            return spec
        return tree.map_structure(_common, spec, self._spec(inputs, trial=1))

    def _inputs(self, *shapes, **named_shapes) -> dict[str, Any]:
        """Symbolic inputs of these shapes, by the names of `call`'s arguments."""
        named = dict(zip(self.call_signature_parameters, shapes, strict=False))
        named |= {name.removesuffix("_shape"): shape for name, shape in named_shapes.items()}
        return tree.map_shape_structure(
            lambda shape: keras.KerasTensor(shape, self.compute_dtype), named
        )

    def _spec(self, inputs: dict[str, Any], trial: int) -> Any:
        """The outputs' spec for inputs with numbers in place of unknown sizes.

        JAX hardly calculates with symbols, and the numbers that Keras takes on torch are primes,
        which no window divides.
        """
        coarsest = max(self.input_strides.values(), default=1)

        def sized(name: str, x: Any) -> Any:
            if not isinstance(x, keras.KerasTensor):
                return x
            batch, *_ = sizes = _SIZES[trial]
            size = sizes[min(len(x.shape), 5) - 2] * coarsest // self.input_strides.get(name, 1)
            shape = [n or (size if axis else batch) for axis, n in enumerate(x.shape)]
            return keras.KerasTensor(shape, x.dtype)

        inputs = {
            name: tree.map_structure(functools.partial(sized, name), x)
            for name, x in inputs.items()
        }
        call = inspect.BoundArguments(inspect.signature(self.call), inputs)  # type: ignore[arg-type]
        # not Keras's method, which words every error anew
        return backend.compute_output_spec(self.call, *call.args, **call.kwargs)


def _common(one: keras.KerasTensor, other: keras.KerasTensor) -> keras.KerasTensor:
    """The spec of both: sizes in which they differ are unknown."""
    sizes = zip(one.shape, other.shape, strict=True)
    return keras.KerasTensor([m if m == n else None for m, n in sizes], one.dtype)
