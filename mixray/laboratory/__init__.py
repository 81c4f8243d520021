"""The laboratory: what the paper and its neighbours claim, held against the tiny world; `docs/laboratory.md` is what it writes."""

from mixray.laboratory.claims import CLAIMS, Claim
from mixray.laboratory.findings import Finding, find
from mixray.laboratory.meter import kept, spent
from mixray.laboratory.notebook import Notebook, held_against

__all__ = ["CLAIMS", "Claim", "Finding", "Notebook", "find", "held_against", "kept", "spent"]
