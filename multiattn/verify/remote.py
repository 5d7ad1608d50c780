"""The runtimes, and a player's process as the referee sees it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multiattn.verify import protocol
from multiattn.verify.protocol import Arrays


@dataclass(frozen=True)
class Runtime:
    """A framework with what it runs on.

    Args:
        tree: the package of this library that it plays.
        player: the player's module.
        environment: what its process needs.
    """

    tree: str
    player: str
    environment: Mapping[str, str] = field(default_factory=dict)


RUNTIMES = {
    "torch": Runtime("torch", "torch"),
    "keras-tensorflow": Runtime("keras", "keras", {"KERAS_BACKEND": "tensorflow"}),
    "keras-jax": Runtime("keras", "keras", {"KERAS_BACKEND": "jax"}),
    "keras-torch": Runtime("keras", "keras", {"KERAS_BACKEND": "torch"}),
    "flax": Runtime("flax", "flax"),
}


class PlayerError(Exception):
    """A player could not do what it was asked; ``traceback`` is its own."""

    def __init__(self, message: str, traceback: str = ""):
        super().__init__(message)
        self.traceback = traceback


class Remote:
    """A player in a process of its own."""

    def __init__(self, runtime: str):
        described = RUNTIMES[runtime]
        self.runtime = runtime
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"multiattn.verify.players.{described.player}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("MULTIATTN_PLAYER_LOG") else None,
            env={**os.environ, "OMP_NUM_THREADS": "1", **described.environment},
        )
        self._answer()

    def ask(self, op: str, arrays: Arrays | None = None, **message: Any) -> tuple[Any, Arrays]:
        """Sends a request; gives the reply's message and arrays.

        Raises:
            PlayerError: the player failed, or has died.
        """
        assert self.process.stdin is not None
        try:
            protocol.send(self.process.stdin, {"op": op, **message}, arrays)
        except BrokenPipeError:
            raise PlayerError(f"the {self.runtime} player has died") from None
        return self._answer()

    def _answer(self) -> tuple[Any, Arrays]:
        assert self.process.stdout is not None
        answer = protocol.receive(self.process.stdout)
        if answer is None:
            raise PlayerError(f"the {self.runtime} player has died")
        message, arrays = answer
        if "error" in message:
            raise PlayerError(message["error"], message["traceback"])
        return message, arrays

    @property
    def alive(self) -> bool:
        """Whether the process can be asked."""
        return self.process.poll() is None

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
