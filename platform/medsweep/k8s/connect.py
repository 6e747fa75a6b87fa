"""Find the cluster: a kubeconfig's context, or the cluster that this runs in."""

from __future__ import annotations

import os

from medsweep.errors import EnvironmentFault, InputError
from medsweep.k8s.client import Api


def connect(context: str | None = None, user: str | None = None) -> Api:
    """Return the API server of a kubeconfig's context, or of the cluster that this runs in.

    Args:
        context: name in the kubeconfig; None takes the current one.
        user: whom to act as, such as `system:serviceaccount:medsweep:medsweep-sweep`.

    Raises:
        EnvironmentFault: there is no cluster to talk to.
        InputError: no such context.
    """
    try:
        from kubernetes import client, config
    except ImportError:
        raise EnvironmentFault(
            "the Kubernetes client is not installed: pip install 'medsweep[k8s]'"
        ) from None
    configuration = client.Configuration()
    try:
        config.load_kube_config(
            # The client reads the variable once, when it is imported.
            config_file=os.environ.get("KUBECONFIG"),
            context=context,
            client_configuration=configuration,
        )
    except config.ConfigException as missing:
        if context is not None:
            raise InputError(
                f"--context {context}: {missing}; `kubectl config get-contexts` lists what there is"
            ) from None
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            raise EnvironmentFault(
                f"no cluster: {str(missing).rstrip('.')}; give a kubeconfig as KUBECONFIG, "
                "or run this inside a cluster"
            ) from None
    api_client = client.ApiClient(configuration)
    if user is not None:
        api_client.set_default_header("Impersonate-User", user)
    return Api(api_client)
