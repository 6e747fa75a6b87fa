"""Fine-tuning: what is learnt, how fast, and in how much memory."""

from __future__ import annotations

from typing import Any

from medsweep.monitoring.dashboards.panels import dashboard, lines

FILTER = 'sweep=~"$sweep", model=~"$model"'
VARIABLES = {
    "sweep": "label_values(medsweep_finetune_epoch, sweep)",
    "model": 'label_values(medsweep_finetune_epoch{sweep=~"$sweep"}, model)',
}
BY = "sweep, model, profile, basis"
LEGEND = "{{model}} {{profile}} ({{basis}})"


def build() -> Any:
    """Return the dashboard."""

    def of(name: str, combine: str = "max") -> str:
        return f"{combine} by ({BY}) (medsweep_finetune_{name}{{{FILTER}}})"

    return dashboard(
        "finetune",
        "fine-tuning",
        [
            lines(
                "Loss",
                {
                    f"training, {LEGEND}": of("loss_nats"),
                    f"held out, {LEGEND}": of("eval_loss_nats"),
                },
                about="Nats an answer token, after each epoch. Where held out rises while training "
                "falls, it learns its pairs by heart.",
            ),
            lines(
                "Token F1",
                {LEGEND: of("token_f1")},
                about="Of the answers to the held-out questions; epoch 0 is the base model's.",
            ),
            lines(
                "Tokens a second",
                {LEGEND: of("tokens_per_second")},
                about="Through the model in the last epoch, of all workers, padding not counted.",
            ),
            lines(
                "Memory",
                {
                    f"{LEGEND} worker {{{{worker}}}}": f"max by ({BY}, worker) "
                    f"(medsweep_finetune_memory_bytes{{{FILTER}}})"
                },
                unit="B",
                about="Most that a worker has held: of its GPU, or without one its own.",
            ),
            lines("Epochs", {LEGEND: of("epoch")}, about="That are over.", span=24),
        ],
        VARIABLES,
    )
