"""Evaluation: students asked on held-out problems, every sample kept, truncation counted apart from wrong."""

from mixray.evaluation import budgets, opinions
from mixray.evaluation.client import Asker, Student, behind_endpoint
from mixray.evaluation.exam import Exam, Rule, handle
from mixray.evaluation.offline import EngineStudent
from mixray.evaluation.outcome import in_words
from mixray.evaluation.redo import Redone, can_be_judged, judge_again
from mixray.evaluation.score import run

__all__ = [
    "Asker",
    "EngineStudent",
    "Exam",
    "Redone",
    "Rule",
    "Student",
    "behind_endpoint",
    "budgets",
    "can_be_judged",
    "handle",
    "in_words",
    "judge_again",
    "opinions",
    "run",
]
