"""Writes the tables of README.md from a file of results.

python -m benchmarks.table benchmarks/results.json
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

README = Path(__file__).with_name("README.md")
Row = dict[str, Any]


def ratio(figures: Row) -> str:
    lower, upper = figures["quartiles"]
    return f"**{figures['ratio']:.2f}** ({lower:.2f} to {upper:.2f})"


def milliseconds(row: Row) -> str:
    times = (row[call]["ours_ms"] for call in ("forward", "forward_backward"))
    return " / ".join(f"{time:,.0f}" if time >= 100 else f"{time:.3g}" for time in times)


def departure(row: Row) -> str:
    return "" if row["departure"] is None else f"{row['departure']:.0e}"


def describe(row: Row) -> str:
    """A row in a line."""
    about = " ".join(
        str(row[key]) for key in ("ours", "peer", "map", "source", "target") if key in row
    )
    if "absent" in row:
        return f"{about}: {row['absent']}"
    if "again" in row:
        return f"{about}: {row['first']:.2f} s, again {row['again']:.2f} s"
    forward, both = row["forward"]["ratio"], row["forward_backward"]["ratio"]
    return f"{about}: forward {forward:.2f}, forward and backward {both:.2f}"


def lines(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    ruled = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in ruled)


def compared(rows: list[Row], first: str, key: str) -> str:
    return lines(
        [first, key, "forward", "forward + backward", "ours, ms", "departure"],
        (
            [
                f"`{row['ours']}`",
                str(row[key]),
                ratio(row["forward"]),
                ratio(row["forward_backward"]),
                milliseconds(row),
                departure(row),
            ]
            for row in rows
        ),
    )


def ported(rows: list[Row]) -> str:
    return lines(
        ["from", "to", "first time", "again"],
        (
            [row["source"], row["target"], f"{row['first']:.2f} s", f"{row['again']:.2f} s"]
            for row in rows
        ),
    )


def section(suite: str, result: Row) -> str:
    """A suite's table and what it was measured on."""
    rows = [row for row in result["rows"] if "absent" not in row]
    if suite == "port":
        made = ported(rows)
    elif suite == "attention":
        made = compared(rows, "module", "map")
    else:
        made = compared(rows, "network", "peer")
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{made}\n{machine['processor']}, threads: {machine['threads']}; {versions}.\n"


def write(results: Path, readme: Path = README) -> None:
    """Replaces what stands between a suite's marks in the README."""
    text = readme.read_text("utf-8")
    for suite, result in json.loads(results.read_text("utf-8")).items():
        between = re.compile(rf"(<!-- {suite} -->\n).*?(<!-- /{suite} -->)", re.DOTALL)
        content = section(suite, result)
        text = between.sub(lambda match, content=content: match[1] + content + match[2], text)
    readme.write_text(text, "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
