"""A journal folded into frames, metrics and one page. Imported late: pandas and plotly live here and nowhere else."""

from engine.report.result import Result

__all__ = ["Result"]
