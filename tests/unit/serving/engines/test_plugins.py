"""The plugin of docs/engines.md, installed as pip would, and a plugin that is broken."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from asking import TUNED, Asker
from medsweep.cli import main
from medsweep.errors import EnvironmentFault
from medsweep.finetune.adapter import Adapter
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.serving.config import ServeSpec
from medsweep.serving.engines import open_engine
from medsweep.serving.engines.compatibility import missing_in_images, unsupported
from medsweep.serving.engines.null import NullEngine
from medsweep.serving.engines.plugins import plugin_class, plugins
from medsweep.serving.protocol import EngineSettings

PAGE = Path(__file__).parents[4] / "docs" / "engines.md"
HOST = HardwareProfile("host", 2, 0, None, 16 * 2**30)
BASE = "standin-llama-3-8b"


def example() -> tuple[str, str]:
    """The two files of the page's example."""
    section = PAGE.read_text().partition("## An engine in a package of its own")[2]
    toml, python = re.findall(r"```(?:toml|python)\n(.*?)```", section, flags=re.S)[:2]
    return toml, python


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages: the example, one that fails, and one with a taken name."""
    toml, python = example()
    project = tomllib.loads(toml)["project"]
    (tmp_path / "medsweep_plain.py").write_text(python)
    (tmp_path / "medsweep_broken.py").write_text("import no_such_package\n")
    install(tmp_path, project["name"], project["entry-points"]["medsweep.engines"])
    install(tmp_path, "broken", {"broken": "medsweep_broken:Engine", "null": "medsweep_plain:X"})
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.cache_clear()
    yield tmp_path
    plugins.cache_clear()
    sys.modules.pop("medsweep_plain", None)


def install(folder: Path, name: str, engines: dict[str, str]) -> None:
    """Write what pip records of a package."""
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    entries = "".join(f"{key} = {value}\n" for key, value in engines.items())
    (info / "entry_points.txt").write_text(f"[medsweep.engines]\n{entries}")


def test_the_example_is_short() -> None:
    lines = [line for text in example() for line in text.splitlines()]
    assert 40 < len(lines) <= 65


@pytest.mark.slow
async def test_the_example_answers_as_each_question_alone(
    site: Path, tuned: Adapter, questions: list[str], expected: list[str]
) -> None:
    settings = EngineSettings("plain", MODELS[BASE], "float32", cpus=1, adapters={TUNED: tuned})
    engine = open_engine(settings)
    try:
        asker = Asker(engine, questions)
        answers = [(await asker.text(asker.request(number))).strip() for number in range(3)]
        await engine.add_adapter("again", tuned)
        again = (await asker.text(asker.request(0, "again"))).strip()
        await engine.remove_adapter("again")
        await engine.check()
    finally:
        engine.close()
    assert answers == expected[:3]
    assert again == expected[0]


def test_a_sweep_and_the_command_line_know_its_name(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ServeSpec(engine="plain").engine == "plain"
    with pytest.raises(ValueError, match="did you mean 'plain'"):
        ServeSpec(engine="plane")
    assert main(["engines", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "medsweep-plain" in lines["plain"]
    assert lines["plain"].endswith("a plugin")
    assert "ModuleNotFoundError: No module named 'no_such_package'" in lines["broken"]
    assert "not used: null is an engine of MedSweep's" in lines["null"]


def test_what_it_cannot_serve_is_refused_in_the_plan(site: Path) -> None:
    model = MODELS["smollm2-135m"]
    assert unsupported("plain", HOST, model) is None
    refused = unsupported("plain", PROFILES["1xa100-1cpu"], model)
    assert refused == "engine plain has no use for the GPUs of 1xa100-1cpu"
    quantized = unsupported("plain", HOST, model, quantization="int8")
    assert quantized == "engine plain has quantization none, not int8"
    assert "which the images do not hold" in str(missing_in_images("plain", HOST))
    assert missing_in_images("vllm", PROFILES["1xa100-1cpu"]) is None


def test_a_plugin_that_cannot_be_imported_says_why(site: Path) -> None:
    why = "engine broken of the package broken cannot be imported: ModuleNotFoundError"
    assert why in str(unsupported("broken", HOST, MODELS["smollm2-135m"]))
    with pytest.raises(EnvironmentFault, match=why):
        plugin_class("broken")


def test_a_name_that_ships_is_not_taken(site: Path) -> None:
    engine = open_engine(EngineSettings("null", MODELS["smollm2-135m"], "float32"))
    assert isinstance(engine, NullEngine)
