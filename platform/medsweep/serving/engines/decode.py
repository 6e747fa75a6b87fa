"""One decoding step of the `continuous` engine, with everything that it reads on the device.

Launching the kernels of a step takes a CPU longer than a fast GPU takes to run them. On a GPU a
step is therefore captured as a CUDA graph, which is launched with one call. A graph runs the same
kernels on the same memory each time. So the number of rows and the window of the KV cache are
rounded up to a few sizes, and tokens, lengths, masks and adapters are read from buffers that stay
where they are. Without a GPU the same code runs without a graph, with the exact numbers.

transformers' own continuous batching captures graphs too, but only with a FlashAttention kernel
that reads block tables, and it takes one adapter at a time.
"""

from __future__ import annotations

import bisect
import gc
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from medsweep.serving.engines.adapter_stack import Columns
from medsweep.serving.engines.kv import Slots
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.readback import Readback

LOG = logging.getLogger("medsweep.serving")

ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
"""Rows of a captured step; above these, multiples of 64."""

WINDOWS = (256, 384, 512, 768)
"""Positions of the KV cache that a captured step reads; above these, the same times powers of 2."""

EXACT_WINDOW = 32
"""Positions to which the window is rounded up where no graph is captured."""

WARM_WINDOW = 512
"""Graphs up to this window are captured when the engine starts, the others when first needed."""

DEVIATION = 0.05
"""Largest deviation of a graph's logits from the same step without a graph, as a share of the
largest logit: far above what another order of summation causes, far below a wrong input."""

Compute = Callable[[], Any]


class Graphs(Protocol):
    """Captures computations on a device."""

    def capture(self, compute: Compute) -> tuple[Compute, Any]:
        """Return what replays the computation, and the tensors that it then fills."""
        ...


class CudaGraphs:
    """CUDA graphs that share one pool of memory.

    Args:
        device: the torch device.
    """

    def __init__(self, device: Any) -> None:
        import torch

        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def capture(self, compute: Compute) -> tuple[Compute, Any]:
        """Capture a computation that has run before, without running it.

        Raises:
            RuntimeError: it does something that cannot be captured, such as waiting for the device.
        """
        import torch

        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        self._stream.wait_stream(torch.cuda.current_stream())
        with _no_collection(), torch.cuda.stream(self._stream):
            # Other threads may use the device meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                filled = compute()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(self._stream)
        return graph.replay, filled


@dataclass(frozen=True)
class Step:
    """A step that may still be computed.

    Attributes:
        logits: [rows, vocabulary], on the device; valid until the next step.
        likeliest: gives the next token of every row; valid until the next step but one.
    """

    logits: Any
    likeliest: Readback


class Decoder:
    """Decodes one token of every running row per step.

    Args:
        model: the model.
        slots: the rows' KV cache.
        rows: most rows.
        graphs: captures steps, or the reason why each step is computed anew.

    Attributes:
        tokens: the last token of each row, on the device.
        runs_ahead: whether a step is computed while this process does something else.
        refused: why steps are not captured (any more), or None.
    """

    def __init__(self, model: LoraModel, slots: Slots, rows: int, graphs: Graphs | str) -> None:
        import torch

        self._model, self._slots, self._rows = model, slots, rows
        self._graphs = None if isinstance(graphs, str) else graphs
        self.refused = graphs if isinstance(graphs, str) else None
        self.tokens = torch.zeros(rows, dtype=torch.long, device=model.device)
        self._captured: dict[tuple[Any, ...], tuple[Compute, Any]] = {}
        self._checked: set[tuple[Any, ...]] = set()
        self._version = model.adapters.version
        self.runs_ahead = model.device.type == "cuda"
        # In turn, because the tokens of a step are read when the next one has begun.
        self._readbacks = [Readback(rows, model.device) for _ in range(2)]

    def put(self, tokens: Sequence[int]) -> None:
        """Set the last token of every row."""
        import torch

        rest = [0] * (self._rows - len(tokens))
        self.tokens.copy_(torch.tensor([*tokens, *rest]))

    def step(self, names: Sequence[str | None]) -> Step:
        """Begin to decode the likeliest next token of every row into `tokens`.

        Args:
            names: adapter of each row; None is the base model.
        """
        rows = len(names)
        columns = self._model.adapters.assign(names)
        logits = self._run(self._size(rows), self._window(), columns, rows)
        self._slots.advance_host()
        self._readbacks.reverse()
        self._readbacks[0].begin(self.tokens[:rows])
        return Step(logits[:rows], self._readbacks[0])

    def warm_up(self) -> None:
        """Capture the steps that are needed most, for the base model and, if any, adapters.

        No row may be running: the steps are computed, too.
        """
        import torch

        if self._graphs is None:
            return
        sizes = sorted({self._size(rows) for rows in range(1, self._rows + 1)})
        windows = [each for each in WINDOWS if each <= min(WARM_WINDOW, self._slots.capacity)]
        try:
            for columns in self._model.adapters.usual_columns():
                for size, window in itertools.product(sizes, windows):
                    key = self._key(size, window, columns)
                    while self.refused is None and key not in self._checked:
                        with torch.inference_mode():  # captured first, then compared
                            self._run(size, window, columns, size)
        except RuntimeError as error:
            self._refuse(f"a first step failed: {error}")
        self.tokens.zero_()

    def _run(self, size: int, window: int, columns: Columns, rows: int) -> Any:
        def compute() -> Any:
            return self._compute(size, window, columns)

        if self._graphs is None or self.refused is not None:
            return compute()
        key = self._key(size, window, columns)
        if key not in self._captured:
            logits = compute()  # kernels are compiled and workspaces allocated before a capture
            try:
                self._captured[key] = self._graphs.capture(compute)
            except Exception as error:  # noqa: BLE001 whatever it is, steps work without graphs
                self._refuse(f"a step cannot be captured: {type(error).__name__}: {error}")
            return logits
        if key not in self._checked:
            return self._check(key, compute, rows)
        replay, logits = self._captured[key]
        replay()
        return logits

    def _key(self, size: int, window: int, columns: Columns) -> tuple[Any, ...]:
        """Return what a graph is captured for, and forget those that are no longer valid."""
        version = self._model.adapters.version
        if self._version != version:
            self._version = version
            # The base model's do not read the adapters' buffers.
            self._captured = {
                key: value for key, value in self._captured.items() if not key[2].stop
            }
            self._checked &= self._captured.keys()
        return size, window, columns, self._slots.capacity

    def _compute(self, size: int, window: int, columns: Columns) -> Any:
        self._model.adapters.use(columns, size)
        inputs = self._slots.step(size, window)
        logits = self._model.last_logits(
            input_ids=self.tokens[:size, None], past_key_values=self._slots, **inputs
        )
        self.tokens[:size] = logits.argmax(-1)
        self._slots.advance()
        return logits

    def _check(self, key: tuple[Any, ...], compute: Compute, rows: int) -> Any:
        """Compare a graph's first result with the same step without the graph; return the latter.

        Both write the same keys and values into the same places.
        """
        replay, logits = self._captured[key]
        tokens, lengths = self.tokens.clone(), self._slots.lengths.clone()
        replay()
        replayed = logits[:rows].float().clone()
        self.tokens.copy_(tokens)
        self._slots.lengths.copy_(lengths)
        expected = compute()
        deviation = (replayed - expected[:rows].float()).abs().max()
        limit = DEVIATION * expected[:rows].float().abs().max()
        if bool(deviation <= limit) or bool(expected[:rows].isnan().any()):
            self._checked.add(key)
        else:
            self._refuse(f"a graph's logits deviate by {float(deviation):.3g}")
        return expected

    def _refuse(self, reason: str) -> None:
        self.refused = reason.splitlines()[0]
        self._captured.clear()
        LOG.warning("decoding without CUDA graphs, which is slower: %s", self.refused)

    def _size(self, rows: int) -> int:
        """Return the number of rows to compute with."""
        return min(_at_least(rows, ROWS, 64), self._slots.slots) if self._fixed else rows

    def _window(self) -> int:
        needed = self._slots.longest + 1
        if not self._fixed:
            return min(-(-needed // EXACT_WINDOW) * EXACT_WINDOW, self._slots.capacity)
        doubled = 1
        while WINDOWS[-1] * doubled < needed:
            doubled *= 2
        window = next(each * doubled for each in WINDOWS if each * doubled >= needed)
        return min(window, self._slots.capacity)

    @property
    def _fixed(self) -> bool:
        """Whether sizes are rounded up; also without graphs, where a GPU refused to capture."""
        return self._graphs is not None


def _at_least(number: int, sizes: Sequence[int], step: int) -> int:
    place = bisect.bisect_left(sizes, number)
    return sizes[place] if place < len(sizes) else -(-number // step) * step


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from freeing memory of the device during a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
