"""Attention modules in PyTorch beside plain transcriptions of their formulas."""

import numpy as np
import torch

from benchmarks.paired import both, departure, emit, settings
from benchmarks.transcriptions import MODULES
from multiattn import catalog, port
from multiattn.bench.request import plan
from multiattn.bench.torch import subject
from multiattn.torch import create

SHAPES = [(64, 56), (256, 14)]


def agreeing(name: str, channels: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Our module and the transcription, with the same random weights."""
    plain = MODULES[name](channels)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_(std=0.1)
    options = plan(name, {}, [f"{channels}x8x8"]).options
    ours = create(name, **options)
    port(plain, ours)
    return ours, plain


def main() -> None:
    given = settings()
    for name in MODULES:
        if given.only not in name:
            continue
        for channels, side in SHAPES:
            side = given.size or side
            x = np.random.RandomState(0).standard_normal((given.batch, channels, side, side))
            x = x.astype(np.float32)
            ours, plain = agreeing(name, channels)
            with torch.no_grad():
                apart = departure(*(m.eval()(torch.from_numpy(x)) for m in (ours, plain)))
            emit(
                ours=name,
                peer="transcription",
                venue=catalog.info(name).venue,
                map=f"{channels}×{side}×{side}",
                departure=apart,
                **both(subject(ours, [x]), subject(plain, [x]), given.seconds),
            )


if __name__ == "__main__":
    main()
