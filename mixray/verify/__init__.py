"""Verdicts: is a response right, wrong, or can nobody tell?"""

from mixray.verify.equal import POLICY
from mixray.verify.files import verify_file
from mixray.verify.judge import Verdict, verify
from mixray.verify.opinion import OPINION_POLICY, judge_question, read_opinions

__all__ = ["OPINION_POLICY", "POLICY", "Verdict", "judge_question", "read_opinions", "verify", "verify_file"]
