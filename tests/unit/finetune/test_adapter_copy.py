"""Whoever may write to an adapter's folder swaps a file between check and use."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from medsweep.errors import EnvironmentFault, StageError
from medsweep.finetune import adapter_copy
from medsweep.finetune.adapter import CARD_FILE, Adapter, read_adapter
from medsweep.finetune.adapter_copy import LORA_FILES, check_files, verified_copy
from medsweep.finetune.push import push
from support import adapter_of

WEIGHTS, CONFIG = LORA_FILES


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    return read_adapter(adapter_of(tmp_path / "adapter", {WEIGHTS: b"checked", CONFIG: b"{}"}))


def other_content(path: Path) -> None:
    path.write_bytes(b"swapped")


def a_link(path: Path) -> None:
    other = path.parent.parent / "of-somebody-else"
    shutil.copyfile(path, other)
    path.unlink()
    path.symlink_to(other)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def nothing(path: Path) -> None:
    path.unlink()


SWAPS = [other_content, a_link, a_pipe, a_folder, nothing]


def test_a_copy_is_private_and_lasts_as_long_as_it_is_used(adapter: Adapter) -> None:
    with verified_copy(adapter) as copy:
        assert stat.S_IMODE(copy.stat().st_mode) == 0o700
        assert {path.name for path in copy.iterdir()} == {WEIGHTS, CONFIG, CARD_FILE}
        # Too late: what was checked stays.
        other_content(adapter.folder / WEIGHTS)
        assert (copy / WEIGHTS).read_bytes() == b"checked"
        with pytest.raises(StageError), verified_copy(adapter):
            pass
    assert not copy.exists()
    with verified_copy(adapter, [CONFIG]) as copy:
        assert [path.name for path in copy.iterdir()] == [CONFIG]


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CARD_FILE])
@pytest.mark.parametrize("swap", SWAPS)
def test_a_swapped_file_is_refused(
    adapter: Adapter, name: str, swap: Callable[[Path], None], tmp_path: Path
) -> None:
    swap(adapter.folder / name)
    with pytest.raises(StageError, match=name.replace(".", r"\.")), verified_copy(adapter):
        pytest.fail("it was taken")
    with pytest.raises(StageError):
        push(adapter, str(tmp_path / "pushed"))
    assert not (tmp_path / "pushed").exists()


def test_a_card_of_another_adapter_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    """All of its files fit each other, but another adapter was checked."""
    other = adapter_of(tmp_path / "other", {WEIGHTS: b"swapped", CONFIG: b"{}"})
    shutil.rmtree(adapter.folder)
    other.rename(adapter.folder)
    with pytest.raises(StageError, match=r"changed or missing: adapter\.json"):
        check_files(adapter)
    with (
        pytest.raises(StageError, match=r"changed or missing: adapter_model\.safetensors"),
        verified_copy(adapter, LORA_FILES),
    ):
        pytest.fail("it was taken")


def test_a_file_that_changes_while_it_is_copied_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash is that of the bytes in the copy, so they cannot differ."""
    files = {WEIGHTS: bytes(5 * adapter_copy.COPY_BYTES), CONFIG: b"{}"}
    adapter = read_adapter(adapter_of(tmp_path / "large", files))
    opened = adapter_copy.open_regular

    class Swapping:
        def __init__(self, file: Any) -> None:
            self.file = file

        def read(self, size: int) -> Any:
            part = self.file.read(size)
            with open(adapter.folder / WEIGHTS, "r+b") as written:
                written.seek(4 * adapter_copy.COPY_BYTES)
                written.write(b"swapped")
            return part

    class Spy:
        def __init__(self, *given: Any, **options: Any) -> None:
            self.context = opened(*given, **options)

        def __enter__(self) -> Any:
            return Swapping(self.context.__enter__())

        def __exit__(self, *given: Any) -> Any:
            return self.context.__exit__(*given)

    monkeypatch.setattr(adapter_copy, "open_regular", Spy)
    with pytest.raises(StageError, match="changed"), verified_copy(adapter, [WEIGHTS]):
        pytest.fail("it was taken")


def test_an_operator_s_folder_may_hold_links(adapter: Adapter) -> None:
    """As the hub's cache does; what they lead to must still have the listed hash."""
    a_link(adapter.folder / WEIGHTS)
    with pytest.raises(StageError, match=r"adapter_model\.safetensors: a link"):
        read_adapter(adapter.folder)
    linked = read_adapter(adapter.folder, links=True)
    with verified_copy(linked) as copy:
        assert (copy / WEIGHTS).read_bytes() == b"checked"
        assert not (copy / WEIGHTS).is_symlink()
    other_content(adapter.folder / WEIGHTS)
    with pytest.raises(StageError, match="changed"), verified_copy(linked):
        pytest.fail("it was taken")


def test_a_card_cannot_allow_links(adapter: Adapter) -> None:
    card = (adapter.folder / CARD_FILE).read_text()
    (adapter.folder / CARD_FILE).write_text(card.replace("{", '{"links": true, ', 1))
    assert not read_adapter(adapter.folder).links


def test_what_is_not_listed_is_not_copied(adapter: Adapter, tmp_path: Path) -> None:
    listing_less = adapter_of(tmp_path / "less", {WEIGHTS: b"checked"})
    with (
        pytest.raises(StageError, match=r"`files` does not list adapter_config\.json"),
        verified_copy(read_adapter(listing_less), LORA_FILES),
    ):
        pytest.fail("it was taken")


def test_faults_name_the_adapter_s_own_folder(adapter: Adapter) -> None:
    with pytest.raises(StageError) as fault, verified_copy(adapter) as copy:
        raise StageError(f"{copy / CONFIG}: not plain LoRA")
    assert str(fault.value) == f"{adapter.folder / CONFIG}: not plain LoRA"


def test_a_disk_without_room_is_said_so(
    adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapter_copy, "open", full, raising=False)
    with pytest.raises(EnvironmentFault, match="set TMPDIR"), verified_copy(adapter):
        pytest.fail("it was taken")


def test_a_file_that_is_swapped_while_it_is_pushed_is_not_at_the_target(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fsspec.filesystem("memory")
    pipe = files.pipe_file

    def swapping(_: object, path: str, value: bytes, **options: Any) -> None:
        other_content(adapter.folder / WEIGHTS)
        pipe(path, value, **options)

    monkeypatch.setattr(type(files), "pipe_file", swapping)
    push(adapter, "memory://swapped/one")
    assert files.cat_file("/swapped/one/adapter_model.safetensors") == b"checked"
