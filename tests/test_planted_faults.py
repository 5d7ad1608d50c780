"""The referee must be able to fail: faults planted in copies of modules are caught and named."""

import inspect
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import multiattn
from multiattn import catalog
from multiattn.verify.cases import DEFAULT_FOLDER, Case, draw, read_cases, sample
from multiattn.verify.checks import LEVELS, Result
from multiattn.verify.referee import verify
from multiattn.verify.remote import RUNTIMES


@dataclass(frozen=True)
class Fault:
    """A change of a module's source, and the level that must catch it.

    Args:
        name: of the fault.
        runtime: where it is played.
        module: whose source is changed.
        old: what is replaced in the source.
        new: what it is replaced with.
        level: where it must be caught.
        case: the case that is played; the module's first by default.
    """

    name: str
    runtime: str
    module: str
    old: str
    new: str
    level: str
    case: str | None = None


BIASED = """
class Biased(nn.BatchNorm2d):
    def forward(self, x):
        if self.training:
            count = x.numel() // x.shape[1]
            kept = 0.9 * self.running_var
            out = super().forward(x)
            self.running_var.copy_(kept + (self.running_var - kept) * (count - 1) / count)
            return out
        return super().forward(x)


nn.BatchNorm2d = Biased


class GAM("""

ROUNDED = """
        if x.requires_grad and x.dtype.itemsize == 4:
            x = x.clone()
            x.register_hook(lambda gradient: gradient.bfloat16().float())
        """

FAULTS = [
    Fault("wrong epsilon", "torch", "CoordAttention", "eps=bn_eps", "eps=1e-3", "original"),
    Fault("wrong epsilon", "flax", "CoordAttention", "eps=bn_eps", "eps=1e-3", "original"),
    Fault("wrong momentum", "flax", "CBAM", "momentum=0.01", "momentum=0.1", "training"),
    Fault("biased variance", "torch", "GAM", "class GAM(", BIASED, "training"),
    Fault(
        "biased variance",
        "keras-tensorflow",
        "GAM",
        "self.norm1 = nn.BatchNorm()",
        "self.norm1 = __import__('keras').layers.BatchNormalization(epsilon=1e-5, momentum=0.9)",
        "training",
    ),
    Fault(
        "height for width", "torch", "CoordAttention", "conv_h(rows)", "conv_w(rows)", "original"
    ),
    Fault(
        "axes swapped",
        "keras-tensorflow",
        "TripletAttention",
        "(planes(2)",
        "(planes(1)",
        "original",
    ),
    Fault(
        "planes swapped",
        "torch",
        "CBAM",
        "amax(x, 1), x.mean(1)",
        "x.mean(1), amax(x, 1)",
        "original",
    ),
    Fault("another default", "torch", "SimAM", "float = 1e-4", "float = 1e-3", "original"),
    Fault("another default", "torch", "ECA", "beta: float = 1", "beta: float = 3", "original"),
    Fault(
        "unused parameter",
        "torch",
        "SqueezeExcitation",
        "self.pool = pool",
        "self.pool = pool\n        self.extra = nn.Linear(1, 1)",
        "shapes",
    ),
    Fault(
        "unused parameter",
        "flax",
        "SqueezeExcitation",
        "self.pool = pool",
        "self.pool = pool\n        self.extra = nnx.Linear(1, 1, rngs=rngs)",
        "shapes",
    ),
    Fault(
        "gradient stopped",
        "torch",
        "SimAM",
        "x.mean((2, 3), keepdim=True)",
        "x.mean((2, 3), keepdim=True).detach()",
        "gradients",
    ),
    Fault(
        "gradient stopped",
        "flax",
        "ASFF",
        "mixture)",
        "jax.lax.stop_gradient(mixture))",
        "gradients",
    ),
    Fault(
        "bfloat16 lost",
        "flax",
        "SimAM",
        "nn.promote(self.dtype, x)",
        "x.astype(jnp.float32)",
        "single",
    ),
    Fault(
        "low precision",
        "torch",
        "SimAM",
        "degrees = ",
        "x = x.bfloat16().float() if x.dtype.itemsize == 4 else x\n        degrees = ",
        "single",
    ),
    # its error differs with each rounding of the inputs: what is allowed for noise mustn't hide it
    Fault(
        "gradient in low precision",
        "torch",
        "SimAM",
        "degrees = ",
        f"{ROUNDED}degrees = ",
        "single",
    ),
    Fault(
        "gradient in low precision",
        "torch",
        "SplitAttention",
        "versions = ",
        f"{ROUNDED}versions = ",
        "single",
    ),
    Fault(
        "branch on values",
        "torch",
        "SimAM",
        "degrees = ",
        "x = x if x.sum() > 0 else x\n        degrees = ",
        "compiled",
    ),
    Fault(
        "size built in",
        "keras-tensorflow",
        "SimAM",
        "height * width - 1",
        "x.shape[1] * x.shape[2] - 1",
        "shapes",
    ),
    Fault(
        "options lost",
        "keras-tensorflow",
        "SimAM",
        "    def call(",
        "    def get_config(self):\n        return {'name': self.name}\n\n    def call(",
        "round trips",
        "lambda",
    ),
]


def source_of(runtime: str, module: str) -> str:
    tree = RUNTIMES[runtime].tree
    folder = Path(multiattn.__file__).parent / tree / catalog.info(module).kind
    (file,) = [f for f in folder.glob("*.py") if f"class {module}(" in f.read_text("utf-8")]
    return file.read_text("utf-8")


def play(text: str, runtime: str, case: Case, folder: Path, levels=LEVELS) -> list[Result]:
    """The failures of a copy of a module, whose source is the text."""
    copy = folder / "copy_of_module.py"
    copy.write_text(text, "utf-8")
    implementation = {runtime: f"{copy}:{case.cls}"}
    return verify(
        [case], runtimes=[runtime], levels=levels, implementations=implementation
    ).failures


def case_of(module: str, name: str | None = None) -> Case:
    return next(c for c in read_cases(DEFAULT_FOLDER, [module]) if name in (None, c.id))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.name}-{f.module}-{f.runtime}")
def test_a_planted_fault_is_caught_and_named(fault: Fault, tmp_path: Path) -> None:
    text = source_of(fault.runtime, fault.module)
    assert fault.old in text
    case = case_of(fault.module, fault.case)
    levels = LEVELS if fault.runtime == "torch" else (fault.level,)
    failures = play(text.replace(fault.old, fault.new), fault.runtime, case, tmp_path, levels)
    caught = [failure for failure in failures if failure.level == fault.level]
    assert caught
    assert fault.module in caught[0].describe()
    assert fault.runtime in caught[0].describe()
    if fault.name == "unused parameter":
        assert "extra" in caught[0].note


@pytest.mark.parametrize("module", ["CoordAttention", "GAM", "SimAM"])
def test_an_unchanged_copy_passes(module: str, tmp_path: Path) -> None:
    assert play(source_of("torch", module), "torch", case_of(module), tmp_path) == []


GELU = """
import torch.nn.functional as F
from torch import nn


class Gelu(nn.Module):
    def forward(self, x):
        return F.gelu(x)
"""


def gelu_case() -> Case:
    """A case whose figures are those of the exact GELU."""
    x = draw("Gelu/exact/input.0", (2, 4, 3, 5), "normal")
    y = x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    figures = {
        "shape": list(y.shape),
        "mean": float(y.mean()),
        "rms": float(np.sqrt((y**2).mean())),
        "sample": sample(y, 192).tolist(),
    }
    data = {
        "id": "exact",
        "options": {},
        "inputs": [{"axes": "NCHW", "shape": list(x.shape), "fill": "normal"}],
        "output_axes": ["NCHW"],
        "state": [],
        "expected": {"eval": [figures]},
    }
    return Case("Gelu", "Gelu", json.loads(json.dumps(data)))


def test_the_approximate_gelu_is_caught(tmp_path: Path) -> None:
    assert play(GELU, "torch", gelu_case(), tmp_path) == []
    approximate = inspect.cleandoc(GELU).replace("F.gelu(x)", 'F.gelu(x, approximate="tanh")')
    failures = play(approximate, "torch", gelu_case(), tmp_path)
    assert {failure.level for failure in failures} >= {"original", "single"}


def test_a_player_that_dies_fails_every_level(tmp_path: Path) -> None:
    text = source_of("torch", "SimAM").replace(
        "degrees = ", "__import__('os')._exit(3)\n        degrees = "
    )
    failures = play(text, "torch", case_of("SimAM"), tmp_path)
    assert {failure.level for failure in failures} == set(LEVELS)
