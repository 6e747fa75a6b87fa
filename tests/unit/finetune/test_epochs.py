from pathlib import Path
from typing import Any

from medsweep.finetune.epochs import EpochLog, epoch_line


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    figures = {"token_f1": 0.25, "rouge_l": 0.2, "corpus_bleu": 0.1, "ngram_match": 0.15}
    start = {"epoch": epoch, "loss": 1.5, "eval_loss": 2.0, "tokens": 640, "seconds": 1.25}
    return {**start, **figures, **changes}


def test_a_line_has_the_figures_of_the_paper_s_figure_3() -> None:
    assert epoch_line(row(2)) == (
        "epoch 2: loss 1.500, evaluation loss 2.000, token F1 0.250, ROUGE-L 0.200, BLEU 0.100, "
        "n-gram match 0.150, 640 tokens in 1.2 s"
    )


def test_before_training_there_is_no_time_and_no_loss() -> None:
    assert epoch_line(row(0, loss=None, corpus_bleu=None)) == (
        "epoch 0: base model, evaluation loss 2.000, token F1 0.250, ROUGE-L 0.200, "
        "n-gram match 0.150"
    )


def test_each_epoch_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "ray" / "run.epochs"
    log = EpochLog(path)
    assert log.new() == []
    EpochLog.add(path, row(0))
    EpochLog.add(path, row(1))
    assert [each["epoch"] for each in log.new()] == [0, 1]
    assert log.new() == []
    # A worker that is killed after its report evaluates the epoch again.
    EpochLog.add(path, row(1))
    EpochLog.add(path, row(2))
    assert [each["epoch"] for each in log.new()] == [2]
    log.close()
    assert not path.exists()


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run.epochs"
    log = EpochLog(path)
    EpochLog.add(path, row(0))
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    assert [each["epoch"] for each in log.new()] == [0]
    path.write_text(whole + whole.replace('"epoch": 0', '"epoch": 1'))
    assert [each["epoch"] for each in log.new()] == [1]


def test_what_an_earlier_run_left_is_not_told(tmp_path: Path) -> None:
    EpochLog.add(tmp_path / "run.epochs", row(0))
    assert EpochLog(tmp_path / "run.epochs").new() == []
