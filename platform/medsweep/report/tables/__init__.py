"""Small tables made from the rows of `benchmark.parquet`, without any formatting."""

from medsweep.report.tables.bound import BoundRow, bound_table
from medsweep.report.tables.comparison import PairedRow, base_against_tuned
from medsweep.report.tables.cost import CostRow, cost_table
from medsweep.report.tables.decision import DecisionRow, decision_table
from medsweep.report.tables.grid import Matrix, MatrixCell, matrix
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.report.tables.models import model_against_model
from medsweep.report.tables.not_run import Failure, failures
from medsweep.report.tables.paper_cells import PaperCell, paper_cells
from medsweep.report.tables.paper_figures import PaperFigure, paper_figures
from medsweep.report.tables.paper_table import PaperComparison, PaperRow, paper_table_4
from medsweep.report.tables.provenance import CpuRow, Host, Method, method
from medsweep.report.tables.quality import QualityFigure, QualityRow, quality_table
from medsweep.report.tables.roofline import RooflineRow, roofline_table

__all__ = [
    "BoundRow",
    "CostRow",
    "CpuRow",
    "DecisionRow",
    "Failure",
    "Host",
    "LatencyRow",
    "Matrix",
    "MatrixCell",
    "Method",
    "PairedRow",
    "PaperCell",
    "PaperComparison",
    "PaperFigure",
    "PaperRow",
    "QualityFigure",
    "QualityRow",
    "RooflineRow",
    "base_against_tuned",
    "bound_table",
    "cost_table",
    "decision_table",
    "failures",
    "latency_table",
    "matrix",
    "method",
    "model_against_model",
    "paper_cells",
    "paper_figures",
    "paper_table_4",
    "quality_table",
    "roofline_table",
]
