"""The demo: a network trained in PyTorch, and its one file of weights in Keras and in Flax.

Each framework runs in a process of its own, on the CPU (GPUs may compute float32 more coarsely) and
in one thread: in so small a network, threads would mostly wait for each other.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from multiattn.demo.data import TEST_IMAGES, WEIGHTS, Array, digits

PICTURE = "attention.png"
TOLERANCE = 1e-4

NEEDED = ("torch", "keras", "tensorflow", "jax", "flax", "sklearn", "matplotlib")
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "JAX_PLATFORMS": "cpu",
    "KERAS_BACKEND": "tensorflow",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class PlayError(Exception):
    """A framework's process failed; the message is the end of what it printed."""


@dataclass(frozen=True)
class Result:
    """What a framework made of the test images.

    Args:
        logits: (N, classes).
        gates: (N, H, W), how far the attention opens at each position, between 0 and 1.
        parameters: how many the network has.
        evaluation: how long that took, in seconds.
        process: how long the whole process took, in seconds.
    """

    logits: Array
    gates: Array
    parameters: int
    evaluation: float
    process: float


def run(folder: Path, epochs: int = 10, console: Console | None = None) -> bool:
    """Trains in PyTorch, loads the weights in Keras and Flax, and compares.

    Args:
        folder: where the weights, the results and the picture go; made if need be.
        epochs: how long to train.
        console: where to print.

    Returns:
        whether all three frameworks agree.

    Raises:
        ImportError: something that the demo needs isn't installed.
    """
    missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
    if missing:
        raise ImportError(f'the demo needs {", ".join(missing)}: pip install "multiattn[demo]"')
    from multiattn.demo.figure import draw

    console = console or Console()
    folder.mkdir(parents=True, exist_ok=True)
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[status]}"),
    )
    try:
        with Progress(*columns, console=console) as progress:
            results = {
                "PyTorch": _play(progress, "PyTorch trains", "torch", folder, epochs),
                "Keras": _play(progress, "Keras loads and evaluates", "keras", folder),
                "Flax": _play(progress, "Flax loads and evaluates", "flax", folder),
            }
    except PlayError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return False

    images, labels = digits()
    images, labels = images[:TEST_IMAGES], labels[:TEST_IMAGES]
    logits = {framework: result.logits for framework, result in results.items()}
    accuracy = {name: float(np.mean(x.argmax(1) == labels)) for name, x in logits.items()}
    largest = {name: f"{departure(x, logits['PyTorch']):.1e}" for name, x in logits.items()}
    console.print(_table(results, accuracy, largest))
    below = {name: f"|Δ logit| ≤ {difference}" for name, difference in largest.items()}
    below["PyTorch"] = "trained here"
    captions = {name: f"{accuracy[name]:.1%} correct\n{below[name]}" for name in results}
    gates = {name: result.gates for name, result in results.items()}
    draw(folder / PICTURE, images, labels, gates, captions)
    faults = disagreements(logits)
    for fault in faults:
        console.print(fault, style="red", highlight=False)
    if not faults:
        console.print(f"[green]The same {TEST_IMAGES} answers in all three.[/]", highlight=False)
    for name in (WEIGHTS, PICTURE):
        console.print(str(folder / name), markup=False, highlight=False, soft_wrap=True)
    return not faults


def departure(logits: Array, reference: Array) -> float:
    """The largest difference between the two."""
    return float(np.abs(logits - reference).max())


def disagreements(logits: Mapping[str, Array]) -> list[str]:
    """What sets each framework's logits apart from the first one's, in sentences; [] if nothing."""
    (first, reference), *others = logits.items()
    faults = []
    for framework, other in others:
        if moved := int(np.sum(other.argmax(1) != reference.argmax(1))):
            faults.append(f"{framework} answers {moved} of {len(other)} otherwise than {first}.")
        if not (largest := departure(other, reference)) <= TOLERANCE:  # nor is NaN
            faults.append(f"{framework}'s logits depart from {first}'s by {largest:.1e}.")
    return faults


def _play(
    progress: Progress, description: str, module: str, folder: Path, epochs: int | None = None
) -> Result:
    """Runs a framework's process, whose lines of JSON update its row of the progress."""
    task = progress.add_task(f"{description:25}", total=epochs, status="")
    arguments = [str(folder)] if epochs is None else [str(folder), str(epochs)]
    printed = []
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", f"{__name__}.{module}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **ENVIRONMENT},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                progress.update(task, **json.loads(line))
            else:
                printed.append(line)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise PlayError(f"{description}: failed\n{''.join(printed[-20:])}")
    progress.update(task, total=epochs or 1, completed=epochs or 1)
    with np.load(folder / f"{module}.npz") as stored:
        parameters, evaluation = int(stored["parameters"]), float(stored["seconds"])
        return Result(stored["logits"], stored["gates"], parameters, evaluation, seconds)


def _table(
    results: Mapping[str, Result], accuracy: Mapping[str, float], largest: Mapping[str, str]
) -> Table:
    table = Table(header_style="bold")
    table.add_column("framework", style="bold")
    for title in ("parameters", "accuracy", "largest |Δ logit|", "evaluation", "process"):
        table.add_column(title, justify="right")
    for framework, result in results.items():
        table.add_row(
            framework,
            f"{result.parameters:,}",
            f"{accuracy[framework]:.1%}",
            largest[framework] if framework != "PyTorch" else "reference",
            f"{result.evaluation * 1000:.0f} ms",
            f"{result.process:.1f} s",
        )
    return table
