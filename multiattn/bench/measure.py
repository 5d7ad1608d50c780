"""Starts the workers."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from multiattn.bench.request import Request
from multiattn.verify.remote import RUNTIMES


class RuntimeFailure(Exception):
    """A runtime could not do what it was asked.

    Args:
        runtime: which one.
        message: why.
        kind: the class of the error there.
        output: the end of what the runtime printed.
    """

    def __init__(self, runtime: str, message: str, kind: str = "", output: str = ""):
        super().__init__(f"{runtime}: {kind}: {message}" if kind else f"{runtime}: {message}")
        self.message = message
        self.kind = kind
        self.output = output


@dataclass(frozen=True)
class Measurement:
    """What a call costs.

    Args:
        median: seconds.
        quartiles: seconds.
        repeats: how many calls.
        first: seconds of the first call, compilation included.
        peak_bytes: memory at the worst moment of a call beyond that before it.
    """

    median: float
    quartiles: tuple[float, float]
    repeats: int
    first: float
    peak_bytes: int


@dataclass(frozen=True)
class Costs:
    """What a module costs in a runtime."""

    parameters: int
    device: str
    forward: Measurement | None = None
    step: Measurement | None = None
    multiply_adds: int | None = None


def missing(runtime: str) -> list[str]:
    """The packages that the runtime needs and that are not installed."""
    described = RUNTIMES[runtime]
    needed = dict.fromkeys(
        [described.tree, described.environment.get("KERAS_BACKEND", described.tree)]
    )
    return [name for name in needed if importlib.util.find_spec(name) is None]


def measure(request: Request, runtime: str) -> Costs:
    """What the module costs in a runtime, in a process of its own.

    Raises:
        RuntimeFailure: something went wrong there.
    """
    described = RUNTIMES[runtime]
    process = subprocess.run(
        [sys.executable, "-m", f"multiattn.bench.{described.tree}"],
        input=json.dumps(asdict(request)),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **described.environment},
    )
    printed = process.stderr[-4000:]
    try:
        answer: Mapping[str, Any] = json.loads(process.stdout)
    except ValueError:
        message = f"the process ended with status {process.returncode}"
        raise RuntimeFailure(runtime, message, output=printed) from None
    if "error" in answer:
        raise RuntimeFailure(runtime, answer["error"], answer["kind"], printed)
    calls = {name: Measurement(**answer[name]) for name in ("forward", "step") if name in answer}
    return Costs(**{**answer, **calls})


@dataclass
class Survey:
    """What a module costs wherever it was measured.

    Args:
        costs: by runtime; a string instead says why there are none.
        multiply_adds: of a forward pass on one image; None where PyTorch could not count them.
        failures: of the runtimes.
    """

    costs: dict[str, Costs | str] = field(default_factory=dict)
    multiply_adds: int | None = None
    failures: list[RuntimeFailure] = field(default_factory=list)


def survey(
    request: Request, runtimes: Sequence[str], progress: Callable[[str], object] = lambda _: None
) -> Survey:
    """Measures in one runtime after another.

    Args:
        request: what is measured.
        runtimes: where.
        progress: is told each runtime before its turn.

    Raises:
        ValueError: the module does not accept its options or inputs.
    """
    made = Survey()
    for runtime in runtimes:
        if absent := missing(runtime):
            made.costs[runtime] = f"{' and '.join(absent)} not installed"
            continue
        progress(runtime)
        try:
            made.costs[runtime] = costs = measure(request, runtime)
        except RuntimeFailure as failure:
            # What the first one doesn't accept, none does.
            if failure.kind == "ValueError" and not any(
                isinstance(one, Costs) for one in made.costs.values()
            ):
                raise ValueError(failure.message) from None
            made.costs[runtime] = "failed"
            made.failures.append(failure)
        else:
            if runtime == "torch":
                made.multiply_adds = costs.multiply_adds
    if "torch" not in runtimes and not missing("torch"):
        progress("counting")
        try:
            made.multiply_adds = measure(replace(request, timed=False), "torch").multiply_adds
        except RuntimeFailure as failure:
            made.failures.append(failure)
    return made
