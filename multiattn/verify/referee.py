"""The referee: plays the cases in every runtime and reports."""

import json
import os
import queue
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multiattn import catalog
from multiattn.verify.cases import Case
from multiattn.verify.checks import LEVELS, Match, Reference, Result
from multiattn.verify.remote import RUNTIMES, Remote


@dataclass
class Verdict:
    """Everything that came of a run.

    Args:
        results: of every check.
        seconds: by module and runtime.
    """

    results: list[Result] = field(default_factory=list)
    seconds: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if result.passed is False]

    def write_json(self, path: Path) -> None:
        """Writes the report for machines."""
        content = {
            "results": [result.as_dict() for result in self.results],
            "seconds": [
                {"module": module, "runtime": runtime, "seconds": round(seconds, 2)}
                for (module, runtime), seconds in self.seconds.items()
            ],
        }
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def verify(
    cases: Sequence[Case],
    *,
    runtimes: Sequence[str] = tuple(RUNTIMES),
    levels: Sequence[str] = LEVELS,
    brief: Sequence[str] = (),
    implementations: Mapping[str, str] | None = None,
    jobs: int | None = None,
    progress: Callable[[str, Case], None] = lambda runtime, case: None,
) -> Verdict:
    """Plays cases in runtimes.

    Args:
        cases: what to play.
        runtimes: where; PyTorch is played first, as others are compared with it.
        levels: which checks.
        brief: runtimes that play one case a module only.
        implementations: by runtime, the class to play instead of the library's, as
            "package.module:Class" or "path/to/file.py:Class".
        jobs: players at a time; None: one for each core.
        progress: called with the runtime and the case after each.
    """
    verdict, lock = Verdict(), threading.Lock()
    references: dict[tuple[str, str], Reference] = defaultdict(Reference)
    first = {case.module: case.id for case in reversed(cases)}
    entries = catalog.entries()

    with tempfile.TemporaryDirectory(prefix="multiattn-verify-") as folder:

        def play(player: Remote, case: Case) -> list[Result]:
            default = f"multiattn.{RUNTIMES[player.runtime].tree}:{case.cls}"
            home = Path(folder) / case.module / case.id
            home.mkdir(parents=True, exist_ok=True)
            match = Match(
                case,
                entries.get(case.cls),
                player,
                (implementations or {}).get(player.runtime, default),
                references[case.module, case.id],
                home,
            )
            return list(match.play(levels))

        def work(runtime: str, waiting: queue.SimpleQueue[Case]) -> None:
            player = None
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    break
                start = time.perf_counter()
                try:
                    player = player or Remote(runtime)
                    results = play(player, case)
                except Exception as error:
                    # Whatever has gone wrong, the case wasn't passed, and the player starts anew.
                    lost = Result(case.module, case.id, runtime, "", "plays", passed=False)
                    results = [replace(lost, level=one, note=repr(error)) for one in levels]
                    player = None
                with lock:
                    verdict.results += results
                    verdict.seconds[case.module, runtime] += time.perf_counter() - start
                    progress(runtime, case)
            if player:
                player.close()

        for runtime in sorted(runtimes, key=list(RUNTIMES).index):
            waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
            for case in cases:
                if runtime not in brief or first[case.module] == case.id:
                    waiting.put(case)
            count = min(jobs or os.cpu_count() or 1, waiting.qsize())
            workers = [threading.Thread(target=work, args=(runtime, waiting)) for _ in range(count)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
    return verdict


def table(verdict: Verdict) -> list[dict[str, Any]]:
    """The largest error by module, level and runtime, and whether it was passed."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for result in verdict.results:
        row = rows.setdefault((result.module, result.runtime), {})
        cell = row.setdefault(result.level, {"error": None, "passed": None})
        if result.error is not None:
            cell["error"] = max(cell["error"] or 0.0, result.error)
        if result.passed is not None:
            cell["passed"] = result.passed and cell["passed"] is not False
    return [
        {"module": module, "runtime": runtime, "levels": levels}
        for (module, runtime), levels in sorted(rows.items())
    ]
