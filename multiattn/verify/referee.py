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

from rich.table import Table

from multiattn import catalog
from multiattn.verify.cases import Case
from multiattn.verify.checks import LEVELS, Match, Reference, Result
from multiattn.verify.remote import RUNTIMES, Remote

# A player then starts anew: what JAX compiles takes memory maps, which a process may run out of.
CASES_OF_A_PLAYER = 40


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
    progress: Callable[[str, Case, int, int], None] = lambda runtime, case, done, total: None,
) -> Verdict:
    """Plays cases in runtimes.

    Args:
        cases: what to play.
        runtimes: where; PyTorch is always played first, as others are compared with it.
        levels: which checks.
        brief: runtimes that play one case a module only.
        implementations: by runtime, the class to play instead of the library's, as
            "package.module:Class" or "path/to/file.py:Class".
        jobs: players at a time; None: one for each core.
        progress: called after each case, with the runtime, the case, how many are done, and of
            how many.
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
            player: Remote | None = None
            played = 0
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    break
                start = time.perf_counter()
                if player and (played == CASES_OF_A_PLAYER or not player.alive):
                    player.close()
                    player = None
                try:
                    if not player:
                        player, played = Remote(runtime), 0
                    played += 1
                    results = play(player, case)
                except Exception as error:
                    # Whatever has gone wrong, the case wasn't passed, and the player starts anew.
                    lost = Result(case.module, case.id, runtime, "", "plays", passed=False)
                    results = [replace(lost, level=one, note=repr(error)) for one in levels]
                    player = None
                with lock:
                    if runtime in runtimes:
                        verdict.results += results
                    verdict.seconds[case.module, runtime] += time.perf_counter() - start
                    done.append(case)
                    progress(runtime, case, len(done), total)
            if player:
                player.close()

        done: list[Case] = []
        programme = {
            runtime: [c for c in cases if runtime not in brief or first[c.module] == c.id]
            for runtime in sorted({"torch", *runtimes}, key=list(RUNTIMES).index)
        }
        total = sum(map(len, programme.values()))
        for runtime, played in programme.items():
            waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
            for case in played:
                waiting.put(case)
            count = min(jobs or os.cpu_count() or 1, waiting.qsize())
            workers = [threading.Thread(target=work, args=(runtime, waiting)) for _ in range(count)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
    return verdict


def table(verdict: Verdict, levels: Sequence[str]) -> Table:
    """Module by runtime by level: the largest error, or how a check without a figure went."""
    rows: dict[tuple[str, str], dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in verdict.results:
        rows[result.module, result.runtime][result.level].append(result)
    shown = Table("module", "runtime", *levels, "seconds", box=None, header_style="bold")
    for (module, runtime), cells in sorted(rows.items()):
        seconds = f"{verdict.seconds[module, runtime]:.1f}"
        shown.add_row(module, runtime, *(_cell(cells[level]) for level in levels), seconds)
    return shown


def _cell(results: Sequence[Result]) -> str:
    errors = [result.error for result in results if result.error is not None]
    text = f"{max(errors):.1e}" if errors else "yes"
    if all(result.passed is None for result in results):
        return "[dim]-[/]"
    return f"[red]{text}[/]" if any(result.passed is False for result in results) else text
