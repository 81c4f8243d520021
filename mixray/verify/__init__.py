"""Verdicts: is a response right, wrong, or can nobody tell?"""

from mixray.verify.equal import POLICY
from mixray.verify.files import verify_file
from mixray.verify.judge import Judge, Verdict, verify

__all__ = ["POLICY", "Judge", "Verdict", "verify", "verify_file"]
