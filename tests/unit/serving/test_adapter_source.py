import shutil
from pathlib import Path

import pytest

from medsweep.clock import FakeClock
from medsweep.errors import InputError, UnknownName
from medsweep.serving.adapter_source import FRESH_S, AdapterSource
from support import write_card


def put(folder: Path, model: str = "base") -> Path:
    folder.mkdir(parents=True)
    write_card(folder, model)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one adapter and what is none."""
    put(tmp_path / "root" / "gout")
    put(tmp_path / "root" / ".hidden")
    (tmp_path / "root" / "making-x").mkdir()
    (tmp_path / "root" / "notes.txt").write_text("no folder")
    return tmp_path / "root"


async def test_named_folders_and_those_below_the_root(root: Path, tmp_path: Path) -> None:
    named = {"mine": put(tmp_path / "elsewhere")}
    source = AdapterSource("base", named, root, FakeClock())
    assert source.names() == ["gout", "mine"]
    assert (await source.find("mine")).folder == tmp_path / "elsewhere"
    with pytest.raises(UnknownName, match=r"unknown model 'goat' \(did you mean 'gout'\?\)"):
        await source.find("goat")


async def test_what_is_added_is_found_at_once(root: Path) -> None:
    source = AdapterSource("base", {}, root, FakeClock())
    put(root / "asthma")
    assert (await source.find("asthma")).name == "asthma"
    assert source.names() == ["asthma", "gout"]


async def test_what_is_removed_or_replaced_is_noticed_soon(root: Path) -> None:
    clock = FakeClock()
    source = AdapterSource("base", {}, root, clock)
    before = await source.find("gout")
    shutil.rmtree(root / "gout")
    assert await source.find("gout") == before
    clock.advance(FRESH_S)
    with pytest.raises(UnknownName):
        await source.find("gout")
    put(root / "gout")
    assert (await source.find("gout")).stamp != before.stamp


@pytest.mark.parametrize(
    "name", ["../outside", "..", ".", "", "/etc", ".hidden", "making-x", "link"]
)
async def test_nothing_but_adapters_of_the_root_is_served(
    root: Path, tmp_path: Path, name: str
) -> None:
    put(tmp_path / "outside")
    (root / "link").symlink_to(tmp_path / "outside")
    source = AdapterSource("base", {}, root, FakeClock())
    assert source.names() == ["gout"]
    with pytest.raises(UnknownName):
        await source.find(name)


def test_faults_of_what_was_given(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match="no such folder of adapters"):
        AdapterSource("base", {}, tmp_path / "none", FakeClock())
    with pytest.raises(InputError, match="it has no adapter.json"):
        AdapterSource("base", {"a": root}, None, FakeClock())
    with pytest.raises(InputError, match="its name 'base' is the base model's"):
        AdapterSource("base", {"base": root / "gout"}, None, FakeClock())


async def test_adapters_of_other_models_and_broken_ones_are_left_alone(root: Path) -> None:
    put(root / "other", "another-model")
    put(root / "broken")
    (root / "broken" / "adapter.json").write_text("{")
    source = AdapterSource("base", {}, root, FakeClock())
    assert source.names() == ["gout"]
    write_card(root / "broken")
    assert (await source.find("broken")).name == "broken"


def test_a_folder_of_the_base_s_name_does_not_hide_it(root: Path) -> None:
    put(root / "base")
    assert AdapterSource("base", {}, root, FakeClock()).names() == ["gout"]
