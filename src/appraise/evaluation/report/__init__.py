"""The evaluation as one self-contained HTML page."""

from appraise.evaluation.report.page import render_html

__all__ = ["render_html"]
