"""What a CSV file of sales is, read from the file itself: a first spec, and why it says what it says."""

from appraise.datasets.infer.assemble import Inference, infer_spec
from appraise.datasets.infer.journal import Decision

__all__ = ["Decision", "Inference", "infer_spec"]
