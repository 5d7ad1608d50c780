"""The bench: what a module costs in each runtime, each measured in a process of its own."""

from multiattn.bench.measure import Costs, Measurement, RuntimeFailure, Survey, survey
from multiattn.bench.report import amount, report, table
from multiattn.bench.request import Request, plan

__all__ = [
    "Costs",
    "Measurement",
    "Request",
    "RuntimeFailure",
    "Survey",
    "amount",
    "plan",
    "report",
    "survey",
    "table",
]
