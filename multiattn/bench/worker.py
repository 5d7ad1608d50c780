"""What a worker is: one runtime in a process of its own, that measures what it is asked to."""

import ctypes
import gc
import json
import os
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiattn.bench.request import Request

Array = NDArray[np.float32]
Call = Callable[[], object]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def return_memory_at_once() -> None:
    """Has the C library return what is freed, so that a call's memory is not what a former left.

    That makes calls slower, so times are measured before.
    """
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 16)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 16)


def process_peak(call: Call) -> int:
    """Bytes of memory that the process holds at the worst moment of a call beyond those before."""
    call()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    except OSError:
        before = _high_water()
        call()
        return _high_water() - before
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    line = next(line for line in lines if line.startswith(field))
    return int(line.split()[1]) * 1024


def _high_water() -> int:
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


def counted_peak(
    highest: Callable[[], int], now: Callable[[], int], reset: Call | None = None
) -> Callable[[Call], int]:
    """The same from a framework's own counts: the highest since its reset, and what is held now."""

    def peak(call: Call) -> int:
        if reset:
            reset()
        call()
        return highest() - now()

    return peak


@dataclass(frozen=True)
class Subject:
    """A module that is ready to be measured.

    Args:
        parameters: how many are learned.
        forward: evaluates it on its inputs, and waits for the outputs.
        step: calls it in training mode, and waits for the gradients.
        device: where it runs.
        multiply_adds: counts those of a forward pass on one image.
        peak: bytes of memory at the worst moment of a call beyond those before it.
    """

    parameters: int
    forward: Call
    step: Call
    device: str = "cpu"
    multiply_adds: Callable[[], int] | None = None
    peak: Callable[[Call], int] = process_peak


def arrays(request: Request) -> list[Array]:
    """The inputs, in PyTorch's order of axes."""
    random = np.random.RandomState(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in request.shapes]


def serve(prepare: Callable[[Request], Subject]) -> None:
    """Answers the request on standard input; what frameworks print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    limit_threads()
    request = Request(**json.load(sys.stdin))
    try:
        answer = measure(prepare(request), request)
    except Exception as error:
        traceback.print_exc()
        answer = {"error": str(error), "kind": type(error).__name__}
    answers.write(json.dumps(answer))
    answers.close()


def limit_threads() -> None:
    """Keeps the process to as many cores as OMP_NUM_THREADS says, which not all frameworks read."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(wanted) :])


def measure(subject: Subject, request: Request) -> dict[str, Any]:
    """Measures its calls; counts."""
    result: dict[str, Any] = {"parameters": subject.parameters, "device": subject.device}
    calls = {"forward": subject.forward, "step": subject.step} if request.timed else {}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        first = time.perf_counter() - start
        times = repeat(call, request.seconds)
        lower, median, upper = statistics.quantiles(times, n=4)
        result[name] = {
            "median": median,
            "quartiles": [lower, upper],
            "repeats": len(times),
            "first": first,
        }
    if subject.peak is process_peak:
        return_memory_at_once()
    for name, call in calls.items():
        result[name]["peak_bytes"] = subject.peak(call)
    if subject.multiply_adds:
        result["multiply_adds"] = subject.multiply_adds()
    return result


def repeat(call: Call, seconds: float, least: int = 5) -> list[float]:
    """How long each of several calls took, after one that is not counted."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times
