"""Fine-tuning: loss and quality by epoch, speed and memory."""

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
                about="Nats per answer token, after each epoch. If held-out loss rises as training "
                "loss falls, the model overfits.",
            ),
            lines(
                "Token F1",
                {LEGEND: of("token_f1")},
                unit="share",
                about="Of the answers to the held-out questions; epoch 0 is the base model.",
            ),
            lines(
                "Tokens per second",
                {LEGEND: of("tokens_per_second")},
                unit="tokens/s",
                about="Training tokens of all workers in the last epoch, without padding.",
            ),
            lines(
                "Memory",
                {
                    f"{LEGEND} worker {{{{worker}}}}": f"max by ({BY}, worker) "
                    f"(medsweep_finetune_memory_bytes{{{FILTER}}})"
                },
                unit="B",
                about="Peak memory of each worker: of its GPU, or of its process if it has none.",
            ),
            lines("Epochs", {LEGEND: of("epoch")}, about="Finished epochs.", span=24),
        ],
        VARIABLES,
    )
