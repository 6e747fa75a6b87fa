"""Read the rows of a source: the embedded corpus, a local file or the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medsweep.datasets import embedded
from medsweep.datasets.files import Rows, local_rows
from medsweep.datasets.spec import SourceSpec
from medsweep.errors import DatasetError

COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Opened:
    """An opened source.

    Attributes:
        rows: each with its place ("line 17").
        revision: commit on the hub; None for other sources.
    """

    rows: Rows
    revision: str | None = None


def open_source(source: SourceSpec) -> Opened:
    """Open a source.

    Raises:
        DatasetError: it is missing, unreadable, or cannot be fetched; also raised while iterating.
    """
    if source.path is not None:
        return Opened(local_rows(Path(source.path).expanduser()))
    if source.entry.hub_id is not None:
        return _from_hub(source.entry.hub_id, source.revision or source.entry.revision or "main")
    return Opened(embedded.rows())


def _from_hub(hub_id: str, revision: str) -> Opened:
    try:
        import datasets
        from huggingface_hub import HfApi, constants
    except ImportError:
        raise DatasetError(
            f"dataset {hub_id} comes from the hub, which needs `pip install medsweep[hub]`; "
            "or give a local copy as its `path`, such as --set dataset.path=FILE"
        ) from None
    try:
        # The commit is recorded, also for a branch. If the hub does not answer, this fails at once,
        # where loading would try for half a minute. If the hub is off (HF_HUB_OFFLINE), the local
        # cache may have the commit.
        cached = constants.HF_HUB_OFFLINE and COMMIT.fullmatch(revision)
        commit = revision if cached else HfApi().dataset_info(hub_id, revision=revision).sha
        table = datasets.load_dataset(hub_id, split="train", revision=commit)
    except Exception as error:  # noqa: BLE001 the hub client raises whatever its layers raise
        raise DatasetError(
            f"dataset {hub_id} cannot be fetched from the hub ({type(error).__name__}); "
            "give a local copy as its `path`, such as --set dataset.path=FILE"
        ) from None
    rows = ((f"row {number}", row) for number, row in enumerate(table, start=1))
    return Opened(rows, commit)
