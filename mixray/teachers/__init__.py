"""Teachers: language models, near or far, and files of their answers; what they say makes pools."""

from mixray.teachers.pools import handle, run
from mixray.teachers.redo import Redone, judge_again
from mixray.teachers.words import pool_in_words
from mixray.teachers.work import Rule

__all__ = ["Redone", "Rule", "handle", "judge_again", "pool_in_words", "run"]
