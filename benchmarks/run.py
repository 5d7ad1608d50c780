"""Runs suites, each in a process of its own, and keeps their rows in a file of results.

    python -m benchmarks.run                                 # all of them, then the tables
    python -m benchmarks.run torch attention --seconds 60
    python -m benchmarks.run torch --only resnet50 --batch 32

Suites that aren't run keep the rows they had; so do the rows that ``--only`` leaves out.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import table
from multiattn.bench.report import machine

RESULTS = Path(__file__).with_name("results.json")

# A suite's module, and what its process needs.
SUITES: dict[str, tuple[str, dict[str, str]]] = {
    "torch": ("torch_backbones", {}),
    "keras-tensorflow": ("keras_backbones", {"KERAS_BACKEND": "tensorflow"}),
    "keras-jax": ("keras_backbones", {"KERAS_BACKEND": "jax"}),
    "attention": ("attention", {}),
    "port": ("porting", {"KERAS_BACKEND": "tensorflow"}),
}


def who(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row is about."""
    return tuple(row.get(key) for key in ("ours", "peer", "map", "source", "target"))


def run(suite: str, arguments: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a suite as they come.

    Raises:
        subprocess.CalledProcessError: the suite has failed.
    """
    module, environment = SUITES[suite]
    command = [sys.executable, "-m", f"benchmarks.suites.{module}", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **environment},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the file of results")
    parser.add_argument("--readme", type=Path, default=table.README, help="gets the tables")
    given, rest = parser.parse_known_args()
    if unknown := [suite for suite in given.suites if suite not in SUITES]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(SUITES)}")
    for suite in given.suites or SUITES:
        results = json.loads(given.json.read_text("utf-8")) if given.json.exists() else {}
        rows = results.get(suite, {}).get("rows", []) if "--only" in rest else []
        for row in run(suite, rest):
            print(f"{suite}: {table.describe(row)}", flush=True)
            rows = [one for one in rows if who(one) != who(row)] + [row]
            results[suite] = {"machine": machine(), "arguments": rest, "rows": rows}
            text = json.dumps(results, indent=1, ensure_ascii=False)
            given.json.write_text(f"{text}\n", "utf-8")
            table.write(given.json, given.readme)


if __name__ == "__main__":
    main()
