"""Attention within each of several sequences in one row, without padding and without a mask.

On GPUs from Ampere on, PyTorch's flash attention has a kernel for sequences of different lengths. A
forward pass is then one row of all its sequences. Elsewhere, and where a check of the kernel or of
the model fails, attention stays PyTorch's `sdpa`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from medsweep.errors import StageError
from medsweep.finetune.data import IGNORED, Example, Row, collate, place
from medsweep.hardware.profile import FIRST_NATIVE_BF16

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

NAME = "medsweep_varlen"
"""The implementation's name in transformers."""

LARGEST_DIFFERENCE = 0.05
"""Of the kernel's logits from those of `sdpa`, in standard deviations; both are in 16 bits.

Rounding is a tenth of it. Where a model does not give the kernel its arguments, or a token attends
to another sequence, the difference is several times as large.
"""


def adopt(model: Any, device: str, dtype: torch.dtype) -> bool:
    """Make a model use the kernel if this GPU, this PyTorch and the model support it.

    Args:
        model: a causal language model of transformers, on the device, without adapters.
        device: that it computes on.
        dtype: of the computation.

    Returns:
        Whether it does.
    """
    import torch

    if not device.startswith("cuda") or dtype == torch.float32:
        return False
    if torch.cuda.get_device_capability(device) < FIRST_NATIVE_BF16:
        return False
    return try_on(model, device, dtype)


def try_on(model: Any, device: str, dtype: torch.dtype) -> bool:
    """Make a model use the kernel, compare it with `sdpa`, and return whether it stays.

    Args:
        model: as in `adopt`.
        device: as in `adopt`.
        dtype: as in `adopt`.
    """
    import torch

    before = model.config._attn_implementation
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = torch.arange(60).mul_(7919).remainder_(vocabulary).tolist()
    rows = [(Example(tuple(ids[:23]), 3), Example(tuple(ids[23:]), 5))]
    try:
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        check_kernel(device, dtype, size)
        plain = _logits(model, [(each,) for each in rows[0]], device, flat=False)
        _register()
        model.set_attn_implementation(NAME)
        model.train()  # with dropout, which the kernel does not have, the logits differ
        ours = _logits(model, rows, device, flat=True)
        model.eval()
        difference = float((ours - plain).square().mean().sqrt() / plain.std())
        if adopted(model) and difference < LARGEST_DIFFERENCE:
            return True
        reason = f"its logits differ by {difference:.2g} standard deviations"
    except Exception as error:  # noqa: BLE001 whatever a version of a library raises, sdpa works
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    log.info("attention stays %s, without flash attention's kernel: %s", before, reason)
    model.eval()
    if adopted(model):
        model.set_attn_implementation(before)
    return False


def check_packing(model: Any, device: str) -> None:
    """Check that in a packed row no sequence changes the logits of the next.

    Most models of transformers tell the sequences of a row apart by their positions; some, such as
    Falcon and BLOOM, do not.

    Args:
        model: as in `adopt`.
        device: that it computes on.

    Raises:
        StageError: a sequence does.
    """
    if adopted(model):
        return
    ids = range(3, 3 + 16)
    second = Example(tuple(ids), 3)
    firsts = (Example(tuple(ids), 3), Example(tuple(reversed(ids)), 3))
    one, other = (_logits(model, [(first, second)], device, flat=False)[16:] for first in firsts)
    if (one - other).square().mean().sqrt() > LARGEST_DIFFERENCE * one.std():
        raise StageError(
            f"finetune.packing: packed: {type(model).__name__} does not keep the sequences of a "
            "row apart; use finetune.packing: bucketed"
        )


def adopted(model: Any) -> bool:
    """Return whether a model uses the kernel, and so takes batches of `flatten`."""
    config = getattr(model, "config", None)
    return getattr(config, "_attn_implementation", None) == NAME


def flatten(rows: Sequence[Row], *, learn: bool = True) -> dict[str, Any]:
    """Return a batch of one row without padding.

    Args:
        rows: the examples of each row.
        learn: False leaves every token without a label.

    Returns:
        As `collate` does, with the places whose next token has a label (`kept`), and with the
        arguments of transformers' flash attention that say where each sequence begins.
    """
    import torch

    examples = [example for row in rows for example in row]
    batch = collate([tuple(examples)], pad_id=0, learn=learn)
    lengths = [len(example.input_ids) for example in examples]
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {
        **batch,
        "position_ids": positions[None],
        "kept": (batch["labels"][0, 1:] != IGNORED).nonzero()[:, 0],
        # With four dimensions it is a mask that is ready, so none is made. Nothing may be attended
        # to: a model that does not pass the other arguments on to the kernel fails its check.
        "attention_mask": torch.zeros((1, 1, 1, 1), dtype=torch.bool),
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' `sdpa` does, or by the kernel where the sequences' starts are given.

    Args:
        module: the attention layer.
        query: (rows, heads, tokens, size).
        key: the same, possibly with fewer heads.
        value: as `key`.
        attention_mask: for `sdpa`.
        options: as transformers gives them to every implementation.

    Returns:
        (rows, tokens, heads, size), and None for the weights.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    starts = options.get("cu_seq_lens_q")
    if starts is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return plain
    if options.get("dropout") or options.get("softcap"):
        raise ValueError("the kernel has neither dropout nor a cap of the scores")
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        query, key, value = (each.to(dtype) for each in (query, key, value))
    attended = _kernel(
        [each[0].transpose(0, 1) for each in (query, key, value)],
        starts,
        int(options["max_length_q"]),
        scale=options.get("scaling"),
        window=options.get("sliding_window"),
    )
    return attended[None], None


def check_kernel(device: str, dtype: torch.dtype, head_size: int) -> None:
    """Compare the kernel's results and gradients with `sdpa`'s on two sequences.

    Args:
        device: that it computes on.
        dtype: of the computation.
        head_size: of the model; some GPUs compute no gradients of large heads.

    Raises:
        ValueError: they differ.
    """
    import torch
    from torch.nn import functional

    draw = torch.Generator().manual_seed(0)
    shapes = [(40, heads, head_size) for heads in (4, 2, 2)]
    ours, plain = (
        [torch.randn(shape, generator=draw.manual_seed(7)).to(device, dtype) for shape in shapes]
        for _ in range(2)
    )
    for each in (*ours, *plain):
        each.requires_grad_()
    starts = torch.tensor([0, 13, 40], dtype=torch.int32, device=device)
    result = _kernel(ours, starts, 27, scale=None, window=None)
    parts = []
    for part in (slice(0, 13), slice(13, 40)):
        query, key, value = (each[part].transpose(0, 1)[None] for each in plain)
        attended = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        )
        parts.append(attended[0].transpose(0, 1))
    expected = torch.cat(parts)
    torch.autograd.backward([result.square().sum(), expected.square().sum()])
    for one, other in (
        (result, expected),
        *((a.grad, b.grad) for a, b in zip(ours, plain, strict=True)),
    ):
        if one is None or other is None or not torch.allclose(one, other, rtol=0.05, atol=0.05):
            raise ValueError("the kernel's results differ from those of sdpa")


def _kernel(
    inputs: Sequence[torch.Tensor],
    starts: torch.Tensor,
    longest: int,
    *,
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    """Return each token's attention to those before it in its sequence: (tokens, heads, size)."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = inputs
    attended: Any = varlen_attn(
        query,
        key,
        value,
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    result: torch.Tensor = attended  # a pair only with `return_aux`
    return result


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _logits(model: Any, rows: Sequence[Row], device: str, *, flat: bool) -> torch.Tensor:
    """Return the logits of every token of the rows, one after another, in float32."""
    import torch

    batch = flatten(rows) if flat else collate(rows, pad_id=0)
    inputs = {name: each for name, each in batch.items() if name not in ("labels", "kept")}
    with torch.no_grad():
        logits: torch.Tensor = model(**place(inputs, device), use_cache=False).logits.float()
    if flat:
        return logits[0]
    lengths = [sum(len(example.input_ids) for example in row) for row in rows]
    return torch.cat([logits[number, :length] for number, length in enumerate(lengths)])
