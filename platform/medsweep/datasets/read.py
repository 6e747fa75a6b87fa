"""Read the rows of a source: the embedded corpus, a local file or the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medsweep.datasets import embedded
from medsweep.datasets.catalog import DatasetEntry
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
        return open_hub(source.entry, source.revision, "--set dataset.path=FILE")
    return Opened(embedded.rows())


def open_hub(entry: DatasetEntry, revision: str | None, local: str) -> Opened:
    """Open a dataset on the hub.

    Args:
        entry: the dataset, with a repository on the hub.
        revision: commit, tag or branch; None takes the catalogue's.
        local: how to read a local copy instead, for the message of a fault.

    Raises:
        DatasetError: it cannot be fetched; also raised while iterating.
    """
    hub_id, revision = str(entry.hub_id), revision or entry.revision or "main"
    try:
        import datasets
        from huggingface_hub import HfApi, constants
    except ImportError:
        raise DatasetError(
            f"dataset {hub_id} comes from the hub, which needs `pip install medsweep[hub]`; "
            f"or give a local copy, such as {local}"
        ) from None
    try:
        # The commit is recorded, also for a branch. If the hub does not answer, this fails at once,
        # where loading would try for half a minute. If the hub is off (HF_HUB_OFFLINE), the local
        # cache may have the commit.
        cached = constants.HF_HUB_OFFLINE and COMMIT.fullmatch(revision)
        commit = revision if cached else HfApi().dataset_info(hub_id, revision=revision).sha
        table = datasets.load_dataset(hub_id, entry.config, split=entry.split, revision=commit)
    except Exception as error:  # noqa: BLE001 the hub client raises whatever its layers raise
        raise DatasetError(
            f"dataset {hub_id} cannot be fetched from the hub ({type(error).__name__}); "
            f"give a local copy, such as {local}"
        ) from None
    rows = ((f"row {number}", row) for number, row in enumerate(table, start=1))
    return Opened(rows, commit)
