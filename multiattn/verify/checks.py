"""What the referee checks of a case in a runtime, level by level."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiattn.catalog import Entry
from multiattn.verify import protocol
from multiattn.verify.cases import Case, sample
from multiattn.verify.player import Setup, size_axes
from multiattn.verify.remote import PlayerError, Remote

LEVELS = (
    "original",
    "training",
    "gradients",
    "single",
    "compiled",
    "round trips",
    "shapes",
)

Arrays = Mapping[str, NDArray[Any]]
Errors = dict[str, float]

# How many elements of an array a case keeps, by the array's kind.
COUNTS = {"eval": 192, "train": 192, "buffers": 16, "input_grads": 64}


@dataclass(frozen=True)
class Tolerance:
    """How far a figure may be off, as a part of its array's rms.

    Args:
        forward: of outputs and buffers.
        gradients: of gradients.
        floor: the divisor is never below this part of the largest rms of the array's kind.
    """

    forward: float
    gradients: float
    floor: float

    def of(self, kind: str) -> float:
        """The tolerance of arrays of this kind."""
        return self.gradients if kind.endswith("grads") else self.forward


DOUBLE = Tolerance(1e-9, 1e-9, 1e-3)
SINGLE = Tolerance(1e-5, 1e-4, 0.1)
SINGLE_BACKBONE = Tolerance(1e-4, 1e-3, 0.1)

NOT_IN_THE_CATALOG = Entry("", "", "", "", "", "", "")

# Where a case amplifies rounding, how many times PyTorch's float32 error another runtime may err,
# and PyTorch what its error varies by over several roundings of the inputs; and how many times
# PyTorch may err what rounding only inputs and weights to float32 does.
AMPLIFIED = 4
AMPLIFIED_IN_TORCH = 10


# A rounding may cross a kink (a ReLU's zero, a maximum's tie) that another doesn't, and there the
# gradient jumps: float32 is right if it is with one of so many roundings of the inputs.
ROUNDINGS = 6


@dataclass(frozen=True)
class Result:
    """What came of one check.

    Args:
        module: the case's module.
        case: the case's id.
        runtime: where it was played.
        level: one of ``LEVELS``.
        what: what was compared.
        error: the largest error, or None where there is no figure.
        limit: what the error may be.
        passed: whether the check was passed; None where it doesn't apply.
        note: why it doesn't apply, or what went wrong.
    """

    module: str
    case: str
    runtime: str
    level: str
    what: str
    error: float | None = None
    limit: float | None = None
    passed: bool | None = True
    note: str = ""

    def describe(self) -> str:
        """In one line."""
        figure = "" if self.error is None else f" {self.error:.2e}, limit {self.limit:.0e}"
        where = f"{self.module}/{self.case} on {self.runtime}"
        return f"{where}: {self.level}, {self.what}{figure} {self.note}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """As the JSON report has it."""
        values = asdict(self)
        if self.error is not None and not math.isfinite(self.error):
            values["error"] = str(self.error)
        return values


@dataclass
class Reference:
    """What the PyTorch player gave for a case, which the other runtimes are compared with.

    Args:
        single: its largest float32 error, by kind of array.
        other: its float64 outputs for other sizes.
        file: the weights that it has saved.
    """

    single: Errors = field(default_factory=dict)
    other: list[NDArray[Any]] | None = None
    file: Path | None = None


def distance(actual: NDArray[Any], expected: NDArray[Any], divisor: float = 0.0) -> float:
    """The largest difference over the expected array's rms; infinite for other shapes or NaN."""
    if actual.shape != expected.shape:
        return math.inf
    if not expected.size:
        return 0.0
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    difference = float(np.max(np.abs(actual - expected)))
    divisor = max(divisor, float(np.sqrt(np.mean(expected**2))))
    if math.isnan(difference):
        return math.inf
    return difference / (divisor or 1.0)


def against_figures(actual: Arrays, figures: Mapping[str, Any], kind: str, floor: float) -> Errors:
    """The error of each array whose shape, mean, rms and sample the case gives."""
    largest = max((one["rms"] for one in figures.values()), default=0.0)
    errors = {}
    for name, one in figures.items():
        array = np.asarray(actual[name], np.float64) if name in actual else None
        if array is None or list(array.shape) != one["shape"]:
            errors[name] = math.inf
            continue
        divisor = max(one["rms"], floor * largest)
        rms = float(np.sqrt(np.mean(array**2))) if array.size else 0.0
        summary = np.array([array.mean() if array.size else 0.0, rms])
        errors[name] = max(
            distance(sample(array, COUNTS[kind]), np.array(one["sample"]), divisor),
            distance(summary, np.array([one["mean"], one["rms"]]), divisor),
        )
    return errors


def against_probes(
    actual: Arrays, figures: Mapping[str, Any], probes: Arrays, floor: float
) -> Errors:
    """The error of each parameter's gradient, whose rms and product with a probe the case gives."""
    largest = max((one["rms"] for one in figures.values()), default=0.0)
    errors = {}
    for name, one in figures.items():
        if name not in actual:
            errors[name] = math.inf
            continue
        gradient = np.asarray(actual[name], np.float64).reshape(-1)
        probe = probes[name].reshape(-1)
        divisor = max(one["rms"], floor * largest) or 1.0
        rms = float(np.sqrt(np.mean(gradient**2)))
        product = abs(float(gradient @ probe) - one["dot"]) / math.sqrt(probe.size)
        error = max(abs(rms - one["rms"]), product) / divisor
        errors[name] = math.inf if math.isnan(error) else error
    return errors


class Match:
    """A case against a player: asks it for what the levels need, and compares.

    Args:
        case: what is played.
        entry: what the catalog says of the module.
        player: who plays.
        implementation: the class, as ``Setup`` takes it.
        reference: what the PyTorch player gave; it fills this in itself.
        folder: for files, the same for all players of a case.
    """

    def __init__(
        self,
        case: Case,
        entry: Entry | None,
        player: Remote,
        implementation: str,
        reference: Reference,
        folder: Path,
    ):
        self.case = case
        self.entry = entry = entry or NOT_IN_THE_CATALOG
        self.player = player
        self.reference = reference
        self.folder = folder
        self.leads = player.runtime == "torch"
        sizes = entry.sizes
        if "fixed" not in sizes and any(one in case.options for one in entry.input_sizes):
            sizes = ("fixed",) * len(case.axes)
        self.sizes = (*sizes, *("any",) * len(case.axes))[: len(case.axes)]
        self.setup = Setup(
            implementation,
            case.options,
            entry.input_widths,
            case.axes,
            case.output_axes,
            [rule not in FIXED for rule in self.sizes],
            case.method,
        )
        self.others = case.inputs_of(other_shapes(case, self.sizes))
        self.names: dict[str, str] = {}
        self.made: tuple[str, bool] | None = None
        self.nudge = 0
        self.outputs: dict[tuple[str, bool, int], list[NDArray[Any]]] = {}

    def play(self, levels: Sequence[str]) -> Iterator[Result]:
        """The results of these levels, a failing one where the player itself has failed."""
        # First what needs a module in float64, then what needs one in float32.
        wanted = [
            (("original", "training", "gradients"), self.double),
            (("shapes",), self.other_sizes),
            (("single",), self.single),
            (("compiled",), self.compiled),
            (("round trips",), self.round_trips),
            (("shapes",), self.unknown_sizes),
        ]
        for group, check in wanted:
            asked = [level for level in group if level in levels]
            if not asked:
                continue
            try:
                yield from (result for result in check() if result.level in asked)
            except PlayerError as error:
                for level in asked:
                    yield self.result(level, "plays", passed=False, note=str(error))

    def result(self, level: str, what: str, **values: Any) -> Result:
        return Result(self.case.module, self.case.id, self.player.runtime, level, what, **values)

    def compared(self, level: str, what: str, errors: Errors, limit: float) -> Result:
        """A result from errors by name: the largest, and which arrays are beyond the limit."""
        worst = max(errors.values(), default=0.0)
        beyond = [name for name, error in errors.items() if not error <= limit]
        note = f"beyond: {', '.join(beyond[:6])}" if beyond else ""
        return self.result(level, what, error=worst, limit=limit, passed=not beyond, note=note)

    # What the levels ask for.

    def make(self, dtype: str, rounded: bool = False) -> None:
        """Has a module made in this dtype, with the case's state, unless that is what there is."""
        if self.made == (dtype, rounded):
            return
        state = {name: self.cast(array, dtype, rounded) for name, array in self.case.state.items()}
        reply, _ = self.player.ask(
            "make",
            {**self.inputs(self.case.inputs, dtype), **protocol.named("state", state)},
            setup=asdict(self.setup),
            dtype=dtype,
        )
        self.names = {name: reply["renamed"].get(name, name) for name in state}
        self.made = (dtype, rounded)

    def cast(self, array: NDArray[Any], dtype: str, rounded: bool = False) -> NDArray[Any]:
        if array.dtype.kind != "f":
            return array
        return (array.astype(np.float32) if rounded else array).astype(dtype)

    def inputs(
        self,
        arrays: Sequence[NDArray[Any]],
        dtype: str,
        rounded: bool = False,
        prefix: str = "input",
    ) -> Arrays:
        cast = [nudged(self.cast(x, dtype, rounded), self.nudge) for x in arrays]
        return protocol.numbered(prefix, cast)

    def forward(
        self, dtype: str, rounded: bool = False, arrays: Sequence[NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]:
        """The outputs for these inputs; for the case's own, asked for once."""
        key = (dtype, rounded, self.nudge)
        if arrays is None and key in self.outputs:
            return self.outputs[key]
        inputs = self.inputs(self.case.inputs if arrays is None else arrays, dtype, rounded)
        outputs = protocol.pick_list("output", self.player.ask("forward", inputs)[1])
        if arrays is None:
            self.outputs[key] = outputs
        return outputs

    def measure(self, dtype: str, tolerance: Tolerance, rounded: bool = False) -> dict[str, Errors]:
        """The errors against the original's figures, by kind and name."""
        expected, floor = self.case.expected, tolerance.floor
        outputs = protocol.numbered("output", self.forward(dtype, rounded))
        errors = {
            "eval": against_figures(outputs, figures(expected["eval"], "output"), "eval", floor)
        }
        if "param_grads" not in expected:
            return errors
        _, arrays = self.player.ask(
            "step",
            {
                **self.inputs(self.case.inputs, dtype, rounded),
                **self.inputs(self.case.cotangents(), dtype, rounded, "cotangent"),
            },
            training=self.case.training,
        )
        if "train" in expected:
            train = figures(expected["train"], "output")
            errors["train"] = against_figures(arrays, train, "train", floor)
            buffers = {n: arrays[f"buffer/{self.names[n]}"] for n in expected["buffers"]}
            errors["buffers"] = against_figures(buffers, expected["buffers"], "buffers", floor)
        inputs = figures(expected["input_grads"], "input_grad")
        errors["input_grads"] = against_figures(arrays, inputs, "input_grads", floor)
        names = {name: f"param_grad/{self.names[name]}" for name in expected["param_grads"]}
        errors["param_grads"] = against_probes(
            {name: arrays[key] for name, key in names.items() if key in arrays},
            expected["param_grads"],
            {name: self.case.probe(name) for name in names},
            floor,
        )
        return errors

    # The levels.

    def double(self) -> Iterator[Result]:
        """Levels 1 to 3: float64 against the original's figures."""
        levels = {
            "eval": "original",
            "train": "training",
            "buffers": "training",
            "input_grads": "gradients",
            "param_grads": "gradients",
        }
        self.make("float64")
        measured = self.measure("float64", DOUBLE)
        for kind, level in levels.items():
            if kind not in measured:
                yield self.result(level, kind, passed=None, note="the case has no such figures")
            elif kind == "param_grads" and not measured[kind]:
                yield self.result(level, kind, passed=None, note="no parameters")
            else:
                yield self.compared(level, kind, measured[kind], DOUBLE.of(kind))

    def single(self) -> Iterator[Result]:
        """Level 4: float32 against the original's figures, and reduced precision."""
        tolerance = SINGLE_BACKBONE if self.entry.kind == "backbones" else SINGLE
        self.make("float32")
        measured = self.measure("float32", tolerance)
        worst = {kind: largest(errors) for kind, errors in measured.items()}
        amplified = {kind: AMPLIFIED * error for kind, error in self.reference.single.items()}
        if self.leads:
            self.reference.single, amplified = worst, {}
            if any(error > tolerance.of(kind) for kind, error in worst.items()):
                amplified = self.rounding(tolerance)
                self.make("float32")
        limits = {kind: max(tolerance.of(kind), amplified.get(kind, 0.0)) for kind in measured}
        tried = [measured]
        for self.nudge in range(1, ROUNDINGS):
            if all(largest(errors) <= limits[kind] for kind, errors in measured.items()):
                break
            tried.append(self.measure("float32", tolerance))
            measured = {kind: min((one[kind] for one in tried), key=largest) for kind in measured}
        self.nudge = 0
        for kind, errors in measured.items():
            worst_of = [largest(one[kind]) for one in tried]
            noisy = self.leads and kind.endswith("grads")  # a gradient may be zero but for rounding
            noise = AMPLIFIED * (max(worst_of) - min(worst_of)) if noisy else 0.0
            yield self.compared("single", kind, errors, max(limits[kind], noise))
        state = {name: self.cast(array, "float32") for name, array in self.case.state.items()}
        reply, arrays = self.player.ask(
            "mixed_precision",
            {**self.inputs(self.case.inputs, "float32"), **protocol.named("state", state)},
        )
        for way, dtypes in reply["dtypes"].items():
            allowed = {"bfloat16", "float32"} if way == "autocast" else {"bfloat16"}
            wrong = [dtype for dtype in dtypes if "float" in dtype and dtype not in allowed]
            finite = all(np.isfinite(x).all() for x in protocol.pick(way, arrays).values())
            note = f"dtypes {', '.join(wrong)}" if wrong else "" if finite else "not finite"
            yield self.result("single", way, passed=not note, note=note)

    def rounding(self, tolerance: Tolerance) -> Errors:
        """What PyTorch may err by kind: what rounding inputs and weights to float32 adds."""
        self.make("float64")
        exact = self.measure("float64", tolerance)
        self.make("float64", rounded=True)
        rounded = self.measure("float64", tolerance, rounded=True)
        return {
            kind: AMPLIFIED_IN_TORCH
            * max((error - exact[kind][name] for name, error in errors.items()), default=0.0)
            for kind, errors in rounded.items()
        }

    def compiled(self) -> Iterator[Result]:
        """Level 5: the compiled ways give what the plain call gives, in float32."""
        self.make("float32")
        reply, arrays = self.player.ask("compiled", self.inputs(self.case.inputs, "float32"))
        yield from self.ways("compiled", reply, arrays, self.forward("float32"))

    def ways(
        self, level: str, reply: Mapping[str, Any], arrays: Arrays, expected: list[NDArray[Any]]
    ) -> Iterator[Result]:
        for name, note in reply["absent"].items():
            yield self.result(level, name, passed=None, note=note)
        for name in reply["ways"]:
            outputs = protocol.pick_list("output", protocol.pick(name, arrays))
            limit = max(SINGLE.forward, AMPLIFIED * self.reference.single.get("eval", 0.0))
            yield self.compared(level, name, distances(outputs, expected), limit)

    def round_trips(self) -> Iterator[Result]:
        """Level 6: files and the framework's own saving give the state back, bit for bit."""
        self.make("float32")
        inputs = self.inputs(self.case.inputs, "float32")
        own = self.folder / f"{self.player.runtime}.safetensors"
        self.player.ask("save", path=str(own))
        if self.leads:
            self.reference.file = own
        source = self.reference.file
        if not self.case.state:
            yield self.result("round trips", "file", passed=None, note="no state")
        elif source is None:
            yield self.result("round trips", "file", passed=None, note="needs PyTorch's file")
        else:
            back = own.with_suffix(".back.safetensors")
            self.player.ask("reload", inputs, source=str(source), path=str(back), dtype="float32")
            same = source.read_bytes() == back.read_bytes() == own.read_bytes()
            note = "" if same else "the file that comes back differs"
            yield self.result("round trips", "file", passed=same, note=note)
        expected = self.forward("float32")
        _, arrays = self.player.ask("restored", inputs)
        restored, before = protocol.pick("restored", arrays), protocol.pick("state", arrays)
        same = restored.keys() == before.keys() and all(
            np.array_equal(before[name], restored[name]) for name in before
        )
        note = "" if same else "the restored state differs"
        yield self.result("round trips", "own saving", passed=same, note=note)
        outputs = protocol.pick_list("output", arrays)
        errors = distances(outputs, expected)
        yield self.compared("round trips", "restored module", errors, SINGLE.forward)

    def other_sizes(self) -> Iterator[Result]:
        """Level 7: the state is what the case lists; other batches and sizes, in float64."""
        self.make("float64")
        yield self.result("shapes", "names of the state")
        outputs = self.forward("float64", arrays=self.others)
        if self.leads:
            self.reference.other = outputs
            batch = len(self.others[0])
            before = [one["shape"] for one in self.case.expected["eval"]]
            pairs = zip(outputs, before, strict=True)
            if not all(n and len(x) * (batch - 1) == n[0] * batch for x, n in pairs):
                yield self.result(
                    "shapes", "other sizes", passed=None, note="outputs have no batch"
                )
                return
            one_by_one = [
                self.forward(
                    "float64",
                    arrays=[x[i : i + 1] if len(x) == batch else x for x in self.others],
                )
                for i in range(batch)
            ]
            expected = [np.concatenate(parts) for parts in zip(*one_by_one, strict=True)]
        elif self.reference.other is None:
            yield self.result("shapes", "other sizes", passed=None, note="needs PyTorch's outputs")
            return
        else:
            expected = self.reference.other
        yield self.compared("shapes", "other sizes", distances(outputs, expected), DOUBLE.forward)

    def unknown_sizes(self) -> Iterator[Result]:
        """Level 7: made without knowing the sizes, in float32."""
        self.make("float32")
        reply, arrays = self.player.ask(
            "unknown_sizes",
            {
                **self.inputs(self.case.inputs, "float32"),
                **self.inputs(self.others, "float32", prefix="other"),
            },
        )
        expected = self.forward("float32", arrays=self.others) if reply["ways"] else []
        yield from self.ways("shapes", reply, arrays, expected)


# Rules of the catalog under which an input keeps its size.
FIXED = ("fixed", "shared")


def largest(errors: Errors) -> float:
    return max(errors.values(), default=0.0)


def nudged(array: NDArray[Any], seed: int) -> NDArray[Any]:
    """The array with each floating value moved at random to one next to it; as it is for 0."""
    if not seed or array.dtype.kind != "f":
        return array
    steps = np.random.default_rng(seed).choice([-np.inf, np.inf], array.shape)
    return np.nextafter(array, steps.astype(array.dtype))


def figures(expected: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, Any]:
    return {f"{prefix}.{index}": one for index, one in enumerate(expected)}


def distances(actual: list[NDArray[Any]], expected: list[NDArray[Any]]) -> Errors:
    """The distance of each output; infinite if their numbers differ."""
    if len(actual) != len(expected):
        return {"number of outputs": math.inf}
    pairs = enumerate(zip(actual, expected, strict=True))
    return {f"output.{index}": distance(a, b) for index, (a, b) in pairs}


def other_shapes(case: Case, rules: Sequence[str | int]) -> list[list[int]]:
    """Shapes with a larger batch and, where the input's rule allows, other sizes.

    Inputs whose sizes are multiples of the smallest input's stay so; other pyramids stay as they
    are.
    """
    shapes = [list(one["shape"]) for one in case.data["inputs"]]
    free = [
        (shape, axes, rule)
        for shape, one, rule in zip(shapes, case.axes, rules, strict=True)
        if (axes := size_axes(one)) and rule not in FIXED
    ]
    bases: dict[int, int] = {}
    for shape, axes, _ in free:
        for axis in axes:
            bases[axis] = min(shape[axis], bases.get(axis, shape[axis]))
    if all(shape[axis] % bases[axis] == 0 for shape, axes, _ in free for axis in axes):
        for shape, axes, rule in free:
            for axis in axes:
                step = rule if isinstance(rule, int) else 1
                more = 1 if rule == "square" else 1 + (axis - axes[0]) % 2
                shape[axis] = shape[axis] // bases[axis] * (bases[axis] + step * more)
    batch = shapes[0][0]
    for shape, rule in zip(shapes, rules, strict=True):
        if shape[0] == batch and rule != "shared":
            shape[0] += 1
    return shapes
