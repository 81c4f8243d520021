"""Verdicts: is a response right, wrong, or can nobody tell?"""

from mixray.verify.equal import POLICY
from mixray.verify.files import verify_file
from mixray.verify.judge import Verdict, verify
from mixray.verify.opinion import OPINION_POLICY, judge_question, read_opinions
from mixray.verify.own import OwnVerifier

__all__ = ["OPINION_POLICY", "POLICY", "OwnVerifier", "Verdict", "judge_question", "read_opinions", "verify", "verify_file"]
