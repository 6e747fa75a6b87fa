"""The paper's figure 3 with intervals: quality and loss after every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medsweep.metrics.statistics import Interval
from medsweep.report.figures.style import (
    MARKERS,
    MODEL_PALETTE,
    mark,
    mark_point,
    new_figure,
    short_label,
    style,
    with_basis,
)
from medsweep.report.numbers import share
from medsweep.results.aggregate import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WORDS = {
    "corpus_bleu": "BLEU over all answers",
    "rouge_l": "ROUGE-L",
    "ngram_match": "n-gram match",
    "token_f1": "Token F1",
}


@dataclass(frozen=True)
class Training:
    """The record of one fine-tune.

    Attributes:
        model: name, with the adapter's key where a model has several.
        profile: hardware profile that it was fine-tuned on; None if that was not recorded.
        basis: whether that hardware ran: "observed", "emulated" or `NOT_RECORDED`.
        rows: of `training.parquet`; epoch 0 is the base model.
        selection: what was chosen by the questions that are reported, in sentences.
    """

    model: str
    profile: str | None
    basis: str
    rows: tuple[Row, ...]
    selection: tuple[str, ...] = ()


def quality_by_epoch(training: Sequence[Training]) -> Figure:
    """Draw loss and, where questions were asked, the quality figures against the epoch.

    Args:
        training: one record per model.
    """
    from matplotlib.ticker import MaxNLocator

    rows = [row for record in training for row in record.rows]
    asked = [name for name in _WORDS if any(row.get(name) is not None for row in rows)]
    profiles = dict.fromkeys(record.profile for record in training if record.profile)
    on = f", fine-tuned on {short_label(', '.join(profiles))}" if profiles else ""
    with style():
        figure, panels = new_figure(
            f"Quality by epoch{on} (epoch 0 is the base model)",
            [record.basis for record in training],
            2 if asked else 1,
            3,
            1.85 if asked else 2.05,
            left_in=0.5,
            gap_in=0.55,
        )
        for panel, name in zip(panels, asked, strict=False):
            for place, record in enumerate(training):
                _line(panel, place, record, name)
            panel.set_title(_WORDS[name])
        losses, legend = panels[len(asked) : len(asked) + 2]
        for place, record in enumerate(training):
            _line(losses, place, record, "eval_loss")
            _line(losses, place, record, "loss", dashed=True)
        losses.set_title("Loss (nats per answer token)")
        for panel in panels[: len(asked) + 1]:
            panel.set_ylim(bottom=0)
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(legend, losses, training)
        for panel in panels[len(asked) + 2 :]:
            panel.set_axis_off()
    return figure


def _line(axes: Axes, place: int, record: Training, name: str, *, dashed: bool = False) -> None:
    rows = [row for row in record.rows if row.get(name) is not None]
    epochs, colour = [row["epoch"] for row in rows], MODEL_PALETTE[place % len(MODEL_PALETTE)]
    [line] = axes.plot(
        epochs,
        [row[name] for row in rows],
        color=colour,
        marker=MARKERS[place % len(MARKERS)],
        markersize=4,
        linewidth=1.6,
        linestyle="--" if dashed else "-",
        markerfacecolor="white" if dashed else colour,
        label=with_basis(record.model, [record.basis]),
    )
    mark(line, record.model)
    for row in rows:
        words = "training loss" if dashed else _WORDS.get(name, "held-out loss")
        value = share(Interval(row[name], row.get(f"{name}_low"), row.get(f"{name}_high")))
        mark_point(
            axes,
            (row["epoch"], row[name]),
            record.model,
            None,
            f"{record.model}, epoch {row['epoch']}: {words} {value}",
        )
    bounds = [row for row in rows if row.get(f"{name}_low") is not None]
    if bounds:
        area = axes.fill_between(
            [row["epoch"] for row in bounds],
            [row[f"{name}_low"] for row in bounds],
            [row[f"{name}_high"] for row in bounds],
            color=colour,
            alpha=0.13,
            linewidth=0,
        )
        mark(area, record.model)


def _legend(axes: Axes, drawn: Axes, training: Sequence[Training]) -> None:
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    handles, labels = drawn.get_legend_handles_labels()
    # Each model was drawn twice in the panel of losses, held-out first: that line is the one named.
    models = dict(zip(reversed(labels), reversed(handles), strict=True))
    models = {label: models[label] for label in dict.fromkeys(labels)}
    styles = {
        "loss: held-out (solid)": Line2D([], [], color="black"),
        "loss: training (dashed)": Line2D([], [], color="black", linestyle="--"),
    }
    entries = {**models, **(styles if training else {})}
    axes.legend(entries.values(), entries.keys(), loc="upper left", fontsize=9)
