"""Fetch the cells of a sweep from where its jobs store them: an object store, or a claim."""

from __future__ import annotations

import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from medsweep.errors import EnvironmentFault
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
from medsweep.k8s.resources import PODS
from medsweep.k8s.settings import RESULTS_MOUNT, ClusterSettings
from medsweep.k8s.watch import Watch
from medsweep.results.cells import CellFolder
from medsweep.results.object_store import RemoteStore

ROLE_FETCH = "fetch"
_POD_LIFETIME_S = 900
_PARALLEL = 8
_CONTAINER = "results"


def fetch_cells(
    connect: Callable[[], Api],
    settings: ClusterSettings,
    sweep: str,
    keys: Iterable[str],
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
        return _from_claim(connect(), settings, sweep, missing, folder)
    store = RemoteStore(f"{settings.results}/{sweep}")
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return sum(
            pool.map(lambda key: store.pull(f"cells/{key}", folder / "cells" / key), missing)
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
    api: Api, settings: ClusterSettings, sweep: str, keys: Iterable[str], folder: Path
) -> int:
    pod = api.create(PODS, settings.namespace, fetch_pod(settings, sweep))
    name = pod["metadata"]["name"]
    try:
        _until_running(api, settings.namespace, name, sweep)
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryFile() as archive,
            tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as scratch,
        ):
            _copy(api, settings.namespace, name, sweep, archive)
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


def _until_running(api: Api, namespace: str, name: str, sweep: str) -> None:
    watch = Watch(api, PODS, namespace, f"{SWEEP}={sweep},{ROLE}={ROLE_FETCH}")
    now = {each["metadata"]["name"]: each for each in watch.objects()}.get(name)
    changes = watch.changes()
    try:
        while True:
            phase = (now or {}).get("status", {}).get("phase")
            if phase == "Running":
                return
            reason = pods_reason([now]) if now is not None else "it was deleted"
            if reason is not None or phase in ("Failed", "Succeeded"):
                raise EnvironmentFault(
                    f"the pod that reads the claim does not start: {reason or phase}; see "
                    "`medsweep k8s doctor`"
                )
            change = next(changes)
            while change.name != name:
                change = next(changes)
            now = change.value
    finally:
        watch.close()


def _copy(api: Api, namespace: str, pod: str, sweep: str, out: IO[bytes]) -> None:
    """Write a tar file of the sweep's cells, as the pod sees them."""
    from kubernetes import client
    from kubernetes.stream import stream

    # Visits are a job's own notes, and what begins with a dot is being written.
    command = ["tar", "-C", f"{RESULTS_MOUNT}/{sweep}", "-cf", "-"]
    command += ["--exclude=visits", "--exclude=.*", "cells"]
    try:
        answer = stream(
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
    except client.ApiException as error:
        raise EnvironmentFault(
            f"pods/exec {namespace}/{pod}: not allowed ({error.reason or error.status}); bind the "
            "role medsweep-fetch of k8s/base, or keep the results in an object store"
        ) from None
    said = b""
    while answer.is_open():
        answer.update(timeout=60)
        if answer.peek_stdout():
            out.write(answer.read_stdout())
        if answer.peek_stderr():
            said += answer.read_stderr()
    if answer.returncode:
        raise EnvironmentFault(
            f"the claim of {sweep} cannot be read: {said.decode(errors='replace').strip()}"
        )
