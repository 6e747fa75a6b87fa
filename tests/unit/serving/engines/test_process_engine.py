"""The process reads an adapter when it likes, and again whenever it is started again."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from medsweep.errors import InputError, StageError
from medsweep.finetune.adapter import Adapter, read_adapter
from medsweep.models.catalog import MODELS
from medsweep.serving.engines.process_engine import ProcessEngine
from medsweep.serving.protocol import EngineSettings
from support import adapter_of


class FakeProcess:
    """Notes what it is told to load, and says that it has (fake)."""

    def __init__(self, error: str | None = None) -> None:
        self.error = error
        self.read: list[bytes] = []

    def send(self, commands: list[list[Any]]) -> None:
        """Read the adapter as the process does."""
        for kind, _, path, _ in commands:
            assert kind == "load"
            self.read.append(Path(path).read_bytes())

    def receive(self) -> dict[str, Any]:
        return {"loaded": "adapter", "error": self.error}


class Engine(ProcessEngine):
    """The part that loads adapters; it has no thread, model or process of its own."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._settings = EngineSettings("vllm", None, "float32")  # type: ignore[arg-type]
        self._adapters, self._loaded, self._commands = {}, set(), []

    def _live_process(self) -> Any:
        return self._process

    def _open_process(self) -> Any: ...

    def _admit(self) -> None: ...

    def _load_base(self, folder: Path) -> Any: ...


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    config = b'{"r": 4, "lora_alpha": 8}'
    files = {"adapter_model.safetensors": b"checked", "adapter_config.json": config}
    return read_adapter(adapter_of(tmp_path / "adapter", files))


def test_the_process_reads_a_copy_that_nobody_can_swap(adapter: Adapter) -> None:
    process = FakeProcess()
    engine = Engine(process)
    files = engine._read_adapter(adapter)
    weights = adapter.folder / "adapter_model.safetensors"
    weights.write_bytes(b"swapped")
    engine._load_adapter("one", files)
    engine._send_adapter("one")  # as after a restart
    assert process.read == [b"checked"] * 2
    with pytest.raises(StageError, match=r"changed or missing: adapter_model\.safetensors"):
        engine._read_adapter(adapter)
    engine._unload_adapter("one")
    assert not Path(files.path).exists()


def test_the_copy_of_an_adapter_that_cannot_be_read_is_deleted(adapter: Adapter) -> None:
    engine = Engine(FakeProcess("no tensors"))
    files = engine._read_adapter(adapter)
    with pytest.raises(InputError, match="cannot read it: no tensors") as fault:
        engine._load_adapter("one", files)
    assert str(adapter.folder) in str(fault.value)
    assert not Path(files.path).parent.exists()


class Unloadable(ProcessEngine):
    """An engine whose base cannot be loaded; it notes itself before."""

    seen: ClassVar[list[ProcessEngine]] = []

    def _load_base(self, folder: Path) -> Any:
        self.seen.append(self)
        raise StageError("no weights")

    def _open_process(self) -> Any: ...

    def _admit(self) -> None: ...


def test_an_engine_that_cannot_be_loaded_leaves_nothing_open(tmp_path: Path) -> None:
    settings = EngineSettings("vllm", MODELS["mistral-7b"], "float32", base=tmp_path)
    with pytest.raises(StageError, match="no weights"):
        Unloadable(settings)
    [engine] = Unloadable.seen
    assert (engine._wake_reader.fileno(), engine._wake_writer.fileno()) == (-1, -1)
