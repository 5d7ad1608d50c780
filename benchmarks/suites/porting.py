"""How long it takes to port ResNet-50, 100 MB, between two frameworks that are both loaded."""

import itertools
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from flax import nnx

import multiattn.flax
import multiattn.keras
import multiattn.torch
from benchmarks.paired import emit, settings
from multiattn import load_weights, port, save_weights, state_dict

NAME = "resnet50"
AGAIN = 5


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    given = settings()
    name = given.only or NAME
    try:
        layer = multiattn.keras.create(name)
        layer(keras.Input((None, None, 3)))
        networks = {
            "PyTorch": multiattn.torch.create(name),
            f"Keras on {keras.backend.backend()}": layer,
            "Flax": multiattn.flax.create(name, rngs=nnx.Rngs(0)),
        }
    except ValueError as error:
        emit(ours=name, absent=str(error))
        return
    for (source, one), (target, other) in itertools.permutations(networks.items(), 2):
        first = seconds(lambda one=one, other=other: port(one, other))
        expected, state = state_dict(one), state_dict(other)
        assert expected.keys() == state.keys()
        assert all(np.array_equal(expected[key], state[key]) for key in expected)
        times = [seconds(lambda one=one, other=other: port(one, other)) for _ in range(AGAIN)]
        size = sum(array.nbytes for array in state.values())
        emit(
            ours=name,
            source=source,
            target=target,
            bytes=size,
            first=first,
            again=statistics.median(times),
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.safetensors"
        for framework, network in networks.items():
            saved = [seconds(lambda n=network: save_weights(n, file)) for _ in range(AGAIN)]
            loaded = [seconds(lambda n=network: load_weights(n, file)) for _ in range(AGAIN)]
            for row, times in (
                ({"source": framework, "target": "a file"}, saved),
                ({"source": "a file", "target": framework}, loaded),
            ):
                emit(
                    ours=name,
                    **row,
                    bytes=size,
                    first=times[0],
                    again=statistics.median(times[1:]),
                )


if __name__ == "__main__":
    main()
