"""Figures of the report. The basis of what they show is in the picture itself."""

from medsweep.report.figures.latency import latency_by_configuration
from medsweep.report.figures.load import speed_by_load
from medsweep.report.figures.matrix import matrix_figure
from medsweep.report.figures.style import save
from medsweep.report.figures.throughput import throughput_by_user_speed
from medsweep.report.figures.tradeoff import tradeoff
from medsweep.report.figures.training import Training, quality_by_epoch

__all__ = [
    "Training",
    "latency_by_configuration",
    "matrix_figure",
    "quality_by_epoch",
    "save",
    "speed_by_load",
    "throughput_by_user_speed",
    "tradeoff",
]
