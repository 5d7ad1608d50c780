"""Runs rename tables: from names and layouts of other origins to canonical ones."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from multiattn.catalog import Rule
from multiattn.weights.layout import Array, AxisOrder


def user_rules(table: Mapping[str, str | None] | None) -> tuple[Rule, ...]:
    """A person's ``{pattern: replacement}`` as rules; a replacement of None passes over."""
    return tuple(Rule(match, to) for match, to in (table or {}).items())


@dataclass(frozen=True)
class Renamed:
    """A name after a table's rules, with the rules that asked for a change of layout."""

    name: str | None
    steps: tuple[Rule, ...] = ()

    def convert(self, array: Array) -> Array:
        """The array with the layout changes made, in order."""
        for rule in self.steps:
            if rule.axes is not None and array.ndim == len(rule.axes.split("->")[0].split()):
                array = AxisOrder(rule.axes).to_canonical(array)
            if rule.take is not None:
                array = np.take(array, rule.take[1], rule.take[0])
        return array


def rename(table: Iterable[Rule], name: str) -> Renamed:
    """Runs the rules in order, each on the name that the ones before it have made."""
    steps = []
    for rule in table:
        if re.search(rule.match, name):
            if rule.to is None:
                return Renamed(None)
            name = re.sub(rule.match, _shifted(rule) if rule.offset else rule.to, name)
            if rule.axes or rule.take:
                steps.append(rule)
    return Renamed(name, tuple(steps))


def _shifted(rule: Rule) -> Callable[[re.Match[str]], str]:
    """The replacement with the offset added to the groups."""
    return lambda found: re.sub(
        r"\\(\d)", lambda group: str(int(found[int(group[1])]) + rule.offset), rule.to or ""
    )
