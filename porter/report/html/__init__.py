"""A verification as one self-contained HTML page: a picture of all layers, their figures, and how they came about."""

from porter.report.html.page import render

__all__ = ["render"]
