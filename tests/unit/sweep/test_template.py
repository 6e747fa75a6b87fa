import re
from pathlib import Path

from medsweep.config import load_config
from medsweep.sweep.spec import SweepSpec
from medsweep.sweep.template import sweep_template


def load(folder: Path, text: str) -> SweepSpec:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return load_config(SweepSpec, path)


def test_the_template_is_a_sweep(tmp_path: Path) -> None:
    spec = load(tmp_path, sweep_template())
    assert spec.cells == ["distilgpt2@host", "distilgpt2@1xv100-1cpu"]
    assert spec.finetune == SweepSpec.model_fields["finetune"].default


def test_every_default_that_it_shows_is_the_default(tmp_path: Path) -> None:
    shown = re.sub(r"^( *)# (\w+: )", r"\1\2", sweep_template(), flags=re.M)
    assert shown.count("\n") == sweep_template().count("\n")
    assert load(tmp_path, shown) == load(tmp_path, sweep_template())
    assert len(re.findall(r"^ *\w+:", shown, flags=re.M)) > 40
