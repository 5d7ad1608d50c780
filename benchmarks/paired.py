"""Two that are compared take turns in one process: A B A B ...

Whatever slows the machine down for a while slows both, so the ratio of two neighbouring samples
says more than two figures measured apart. The result is the median of these ratios.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from multiattn.bench.worker import Subject, limit_threads

Call = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """What every suite takes.

    Args:
        seconds: how long two are compared.
        batch: images at a time.
        size: height and width of the images; None leaves it to the suite.
        only: part of the names that are compared.
    """

    seconds: float
    batch: int
    size: int | None
    only: str


def settings() -> Settings:
    """The settings from a suite's command line; also limits the process's threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int)
    parser.add_argument("--only", default="")
    limit_threads()
    return Settings(**vars(parser.parse_args()))


def samples(call: Call, calls: int) -> float:
    """Seconds a call, from several at once."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def compare(ours: Call, peer: Call, seconds: float, least: int = 7) -> dict[str, Any]:
    """The ratio of their times: below one, ours is the faster.

    Args:
        ours: what is measured first in each round.
        peer: what is measured second.
        seconds: how long the rounds go on.
        least: how many rounds there are at any rate.
    """
    for call in (ours, peer):
        call()
    # A sample of what is short takes several calls, so that it lasts 20 ms.
    calls = max(1, round(0.02 / max(samples(ours, 1), samples(peer, 1))))
    rounds = []
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        while len(rounds) < least or time.perf_counter() < end:
            rounds.append((samples(ours, calls), samples(peer, calls)))
    finally:
        gc.enable()
    lower, ratio, upper = statistics.quantiles([a / b for a, b in rounds], n=4)
    return {
        "ratio": ratio,
        "quartiles": [lower, upper],
        "ours_ms": statistics.median(a for a, _ in rounds) * 1e3,
        "peer_ms": statistics.median(b for _, b in rounds) * 1e3,
        "rounds": len(rounds),
    }


def both(ours: Subject, peer: Subject, seconds: float) -> dict[str, Any]:
    """The comparison of the forward pass, and of that with the backward pass."""
    return {
        "forward": compare(ours.forward, peer.forward, seconds / 2),
        "forward_backward": compare(ours.step, peer.step, seconds / 2),
        "parameters": [ours.parameters, peer.parameters],
    }


def departure(ours: Any, peer: Any) -> float:
    """The largest difference over the rms."""
    ours, peer = np.asarray(ours, np.float64), np.asarray(peer, np.float64)
    return float(np.abs(ours - peer).max() / np.sqrt(np.square(peer).mean()))


def emit(**row: Any) -> None:
    """Prints a row."""
    print(json.dumps(row), flush=True)
