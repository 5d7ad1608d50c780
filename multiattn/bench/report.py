"""What was measured, for people and for programs."""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from rich.table import Table

from multiattn.bench.measure import Costs, Measurement, Survey
from multiattn.bench.request import Request

PACKAGES = ("torch", "keras", "tensorflow", "tensorflow-cpu", "jax", "flax")


def table(costs: Mapping[str, Costs | str]) -> Table:
    """A row per runtime; a string instead of costs says why there are none."""
    made = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    made.add_column("runtime", style="bold", no_wrap=True)
    for title in ("parameters", "forward, ms", "+ backward", "memory, MB", "+ backward"):
        made.add_column(title, justify="right", no_wrap=True)
    for runtime, one in costs.items():
        if isinstance(one, str):
            made.add_row(runtime, f"[dim]{one}[/]")
        elif one.forward and one.step:
            made.add_row(
                runtime,
                f"{one.parameters:,}",
                _time(one.forward),
                _time(one.step),
                _megabytes(one.forward),
                _megabytes(one.step),
            )
    return made


def _time(one: Measurement) -> str:
    lower, upper = one.quartiles
    return f"{one.median * 1e3:.2f} ± {(upper - lower) / 2 * 1e3:.2f}"


def _megabytes(one: Measurement) -> str:
    return f"{one.peak_bytes / 1e6:.0f}"


def amount(number: int) -> str:
    """A large number in few digits: 4.09 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def report(request: Request, survey: Survey) -> dict[str, Any]:
    """Everything, in terms of JSON; times in milliseconds, memory in bytes."""
    return {
        "module": request.name,
        "options": dict(request.options),
        "inputs": [
            {"axes": axes, "shape": list(shape)}
            for axes, shape in zip(request.axes, request.shapes, strict=True)
        ],
        "multiply_adds": survey.multiply_adds,
        "machine": machine(),
        "runtimes": {
            runtime: {"absent": one} if isinstance(one, str) else _costs(one)
            for runtime, one in survey.costs.items()
        },
    }


def _costs(costs: Costs) -> dict[str, Any]:
    calls = {"forward": costs.forward, "forward_backward": costs.step}
    return {
        "parameters": costs.parameters,
        "device": costs.device,
        **{
            name: {
                "median_ms": one.median * 1e3,
                "quartiles_ms": [quartile * 1e3 for quartile in one.quartiles],
                "first_ms": one.first * 1e3,
                "repeats": one.repeats,
                "peak_bytes": one.peak_bytes,
            }
            for name, one in calls.items()
            if one is not None
        },
    }


def machine() -> dict[str, Any]:
    """What figures depend on: processor, threads, versions."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "threads": os.environ.get("OMP_NUM_THREADS") or cores(),
        "python": platform.python_version(),
        "versions": versions,
    }


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
