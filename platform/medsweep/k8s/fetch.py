"""Fetch the cells of a sweep from where its jobs store them: an object store, or a claim."""

from __future__ import annotations

import re
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from medsweep.errors import EnvironmentFault
from medsweep.k8s.api_errors import parse_status
from medsweep.k8s.client import Api, Object
from medsweep.k8s.conventions import (
    APPLICATION,
    CONTAINER_SECURITY,
    GPU,
    NO_GPU,
    POD_SECURITY,
    ROLE,
    SWEEP,
    image_reference,
)
from medsweep.k8s.diagnose import pods_reason
from medsweep.k8s.pods import tolerations_of
from medsweep.k8s.resources import PODS
from medsweep.k8s.settings import RESULTS_MOUNT, ClusterSettings
from medsweep.k8s.watch import Feed
from medsweep.reporter import Reporter
from medsweep.results.cells import CellFolder
from medsweep.results.object_store import RemoteStore

if TYPE_CHECKING:
    from kubernetes.stream.ws_client import WSClient

ROLE_FETCH = "fetch"
_POD_LIFETIME_S = 900
_PARALLEL = 8

START_TIMEOUT_S = 600.0
"""A node for the pod may have to be added to its pool first, which takes minutes."""

_ATTEMPTS = 3
_RETRY_PAUSE_S = 1.0
_CONTAINER = "results"

# Of the named cells, or of all, those that are complete; a cell's measurements are the job's own
# notes, and dot files are incomplete.
_ARCHIVE = r"""
cd "$0" || exit
[ $# -gt 0 ] || set -- cells/*
for cell; do
  [ ! -e "$cell/cell.json" ] || printf '%s\0' "$cell"
done | tar --exclude=visits --exclude='.*' -cf - --null -T -
"""
_NAMED_AT_ONCE = 100
"""Cells that one command names: they are part of its URL, which proxies limit to kilobytes."""

ERROR_CHANNEL = 3
"""Of the WebSocket protocol `v4.channel.k8s.io`: the command's outcome, as a `Status` object."""


def fetch_cells(
    connect: Callable[[], Api],
    settings: ClusterSettings,
    sweep: str,
    keys: Collection[str],
    folder: Path,
) -> int:
    """Fetch every complete cell that is not here yet; return how many were fetched.

    Args:
        connect: returns the API server; called only if the results are on a claim.
        settings: of the cluster, with the location of the results.
        sweep: name of the sweep.
        keys: of the cells.
        folder: local folder of the sweep's results.

    Raises:
        EnvironmentFault: a file differs from what the job wrote, or the results cannot be read.
    """
    missing = [key for key in keys if not CellFolder(folder / "cells" / key).done]
    if not missing:
        return 0
    if settings.results_claim is not None:
        names = [f"cells/{key}" for key in missing]
        batches = [names[at : at + _NAMED_AT_ONCE] for at in range(0, len(names), _NAMED_AT_ONCE)]
        if len(missing) == len(keys) > _NAMED_AT_ONCE:
            batches = [[]]  # all in one command, without names
        return _from_claim(connect(), settings, sweep, missing, batches, folder)
    store = RemoteStore(f"{settings.results}/{sweep}")
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return sum(
            pool.map(lambda key: store.fetch(f"cells/{key}", folder / "cells" / key), missing)
        )


def fetch_pod(settings: ClusterSettings, sweep: str) -> Object:
    """Return the pod that reads the claim: it sleeps, and ends by itself if it is not deleted."""
    container = {
        "name": _CONTAINER,
        "image": image_reference(settings, "cpu"),
        "command": ["sleep", str(_POD_LIFETIME_S)],
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "1", "memory": "512Mi"},
        },
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "results", "mountPath": RESULTS_MOUNT, "readOnly": True}],
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": _POD_LIFETIME_S,
        # `sleep` ignores SIGTERM as the first process of a container, and there is nothing to save.
        "terminationGracePeriodSeconds": 0,
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        # On a worker's node it would disturb the measurement.
        "nodeSelector": {GPU: NO_GPU},
        "containers": [container],
        "volumes": [
            {
                "name": "results",
                "persistentVolumeClaim": {"claimName": settings.results_claim, "readOnly": True},
            }
        ],
    }
    if settings.image_pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": settings.image_pull_secret}]
    if tolerations := tolerations_of(settings, NO_GPU):
        spec["tolerations"] = tolerations
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"medsweep-fetch-{uuid.uuid4().hex[:8]}",
            "namespace": settings.namespace,
            "labels": {**APPLICATION, SWEEP: sweep, ROLE: ROLE_FETCH},
        },
        "spec": spec,
    }


def _from_claim(
    api: Api,
    settings: ClusterSettings,
    sweep: str,
    keys: Sequence[str],
    batches: Sequence[Sequence[str]],
    folder: Path,
) -> int:
    pod = api.create(PODS, settings.namespace, fetch_pod(settings, sweep))
    name = pod["metadata"]["name"]
    try:
        _wait_until_running(api, settings.namespace, name, sweep)
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryFile() as archive,
            tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as scratch,
        ):
            for batch in batches:
                _copy(api, settings.namespace, name, sweep, batch, archive)
                archive.seek(0)
                with tarfile.open(fileobj=archive) as files:
                    # The filter refuses members outside the folder.
                    files.extractall(scratch, filter="data")
            return sum([_move_cell(Path(scratch), folder, key) for key in keys])
    except tarfile.TarError as error:
        raise EnvironmentFault(
            f"{settings.results}: the archive is incomplete ({error}); run the same command again"
        ) from None
    finally:
        api.delete(PODS, settings.namespace, name)


def _move_cell(scratch: Path, folder: Path, key: str) -> bool:
    """Move one cell into place if it is complete and its files match their hashes."""
    source = CellFolder(scratch / "cells" / key)
    if source.record() is None:
        return False
    damaged = source.faults()
    if damaged:
        raise EnvironmentFault(
            f"cell {key}: {', '.join(damaged)}: not what the job wrote (sha256 differs); delete "
            "its folder on the claim and submit again"
        )
    target = folder / "cells" / key
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.path.iterdir(), key=lambda path: path.name == "cell.json"):
        path.replace(target / path.name)
    return True


def _wait_until_running(api: Api, namespace: str, name: str, sweep: str) -> None:
    """Wait until a pod runs; a full node pool may get room, and one that scales from zero grows."""
    selector = f"{SWEEP}={sweep},{ROLE}={ROLE_FETCH}"
    deadline, waits_for = time.monotonic() + START_TIMEOUT_S, ""
    with Feed(api, namespace, {PODS: selector}) as feed:
        changes = feed.ready()
        while True:
            for change in changes:
                if change.name != name:
                    continue
                if change.value is None:
                    raise _not_started("it was deleted")
                phase = change.value.get("status", {}).get("phase")
                if phase == "Running":
                    return
                reason = pods_reason([change.value])
                if phase in ("Failed", "Succeeded") or _is_final(reason):
                    raise _not_started(reason or phase)
                if reason is not None and reason != waits_for:
                    waits_for = reason
                    Reporter().line(
                        f"waiting up to {START_TIMEOUT_S:.0f} s for the pod that reads the claim: "
                        f"{reason}"
                    )
            left = deadline - time.monotonic()
            if left <= 0:
                raise _not_started(f"after {START_TIMEOUT_S:.0f} s, {waits_for or 'it is pending'}")
            changes = feed.wait(left)


def _is_final(reason: str | None) -> bool:
    """Whether waiting does not help: anything but a lack of room, which may end."""
    if reason is None or "Unschedulable" not in reason:
        return reason is not None
    return "persistentvolumeclaim" in reason and "not found" in reason


def _not_started(reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the pod that reads the claim does not start: {reason}; check `medsweep k8s doctor` and "
        "run the same command again"
    )


def _copy(
    api: Api, namespace: str, pod: str, sweep: str, cells: Sequence[str], out: IO[bytes]
) -> None:
    """Write a tar file of the sweep's complete cells; retry if the connection breaks.

    Args:
        api: the API server.
        namespace: of the pod.
        pod: its name.
        sweep: name of the sweep.
        cells: folders below the sweep's; empty for all.
        out: receives the archive.

    Raises:
        EnvironmentFault: the command failed, or the connection broke each time.
    """
    command = ["sh", "-c", _ARCHIVE.strip(), f"{RESULTS_MOUNT}/{sweep}", *cells]
    for attempt in range(1, _ATTEMPTS + 1):
        out.seek(0)
        out.truncate()
        try:
            code, message = _execute(api, namespace, pod, command, out)
        except ConnectionError as error:
            if attempt == _ATTEMPTS:
                raise EnvironmentFault(
                    f"pods/exec {namespace}/{pod}: the connection broke {attempt} times before the "
                    f"command ended ({error}); run the same command again"
                ) from None
            time.sleep(_RETRY_PAUSE_S)
            continue
        if code:
            raise EnvironmentFault(f"the claim of {sweep} cannot be read: {message}")
        return


def _execute(
    api: Api, namespace: str, pod: str, command: list[str], out: IO[bytes]
) -> tuple[int, str]:
    """Run a command in the pod; return its exit code and what it wrote to standard error.

    Raises:
        ConnectionError: the exit code is not known.
        EnvironmentFault: commands in the pod are not allowed.
    """
    from kubernetes import client
    from kubernetes.stream import stream, ws_client

    try:
        # `stream` alone has no way to tell the client not to keep all that it receives in memory.
        response = stream.func(
            partial(ws_client.websocket_call, capture_all=False),
            None,
            client.CoreV1Api(api.client).connect_get_namespaced_pod_exec,
            pod,
            namespace,
            container=_CONTAINER,
            command=command,
            stdout=True,
            stderr=True,
            _preload_content=False,
            binary=True,
        )
    except (client.ApiException, AttributeError) as error:
        # The client (37.0.2) fails itself when a handshake is refused, because that has no body.
        # The HTTP status is only in the text of the exception that it was handling.
        refused = error if isinstance(error, client.ApiException) else error.__context__
        reason = str(getattr(refused, "reason", "") or refused).partition(" -+-")[0][:200]
        if not re.search(r"\b40[13]\b", reason):
            raise ConnectionError(reason) from None
        raise EnvironmentFault(
            f"pods/exec {namespace}/{pod}: not allowed ({reason}); bind the role medsweep-fetch of "
            "k8s/base, or keep the results in an object store"
        ) from None
    errors = b""
    while response.is_open():
        _receive(response)
        if response.peek_stdout():
            out.write(response.read_stdout())
        if response.peek_stderr():
            errors += response.read_stderr()
    status = response.read_channel(ERROR_CHANNEL)
    return exit_code(status), errors.decode(errors="replace").strip()


def _receive(response: WSClient) -> None:
    """Receive the next frame.

    Raises:
        ConnectionError: the connection broke.
    """
    from websocket import WebSocketException

    try:
        response.update(timeout=60)
    except (WebSocketException, OSError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from None


def exit_code(status: bytes | str) -> int:
    """Return the exit code of a command from the `Status` object on its error channel.

    Raises:
        ConnectionError: it holds none, as where the connection or the container ended before.
    """
    text = status.encode() if isinstance(status, str) else status
    value = parse_status(text)
    if value.get("status") == "Success":
        return 0
    for cause in (value.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
            return int(cause["message"])
    raise ConnectionError(value.get("message") or "no exit code")
