#!/usr/bin/env bash
# One sweep on a cluster of this machine: kind or k3d, the CPU image, KubeRay's operator, a RayJob, the report.
# More than one node, since the load generator never shares one with what it measures. Give KUBERAY_CHARTS, the address of KubeRay's
# Helm repository or of your mirror of it; and as you like OUT for the results (results), CLUSTER for the cluster's name
# (medsweep-demo), MEDSWEEP for the command (medsweep), and KEEP=1 to keep the cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=${OUT:-results} cluster=${CLUSTER:-medsweep-demo} medsweep=${MEDSWEEP:-medsweep}
operator=1.7.0

missing=()
for tool in docker kubectl helm; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if command -v kind >/dev/null; then
    engine=kind
elif command -v k3d >/dev/null; then
    engine=k3d
else
    missing+=("kind or k3d")
fi
if ((${#missing[@]})); then
    printf 'cluster-demo: not installed: %s\n' "$(IFS=,; echo "${missing[*]}")" >&2
    exit 4
fi
if [[ -z ${KUBERAY_CHARTS:-} ]]; then
    echo "cluster-demo: KUBERAY_CHARTS is not set: give the address of KubeRay's Helm repository, which its guide names" \
        "(\"KubeRay Operator Installation\": the argument of \`helm repo add kuberay\`)" >&2
    exit 4
fi
if ! docker info >/dev/null 2>&1; then
    echo "cluster-demo: docker does not answer; start its daemon (docker info says why)" >&2
    exit 4
fi

# A kubeconfig of its own: the user's current context stays. The folder is what all nodes mount as /medsweep.
work=$(mktemp -d)
shared=$work/results
mkdir "$shared"
chmod 777 "$shared"  # the pods' user is not this one
export KUBECONFIG=$work/kubeconfig
finish() {
    if [[ ${KEEP:-} ]]; then
        echo "cluster-demo: the cluster $cluster is kept: KUBECONFIG=$KUBECONFIG"
        return
    fi
    if [[ $engine == kind ]]; then
        kind delete cluster --name "$cluster"
    else
        k3d cluster delete "$cluster"
    fi
    rm -rf "$work" || echo "cluster-demo: files of the pods' user are left in $work"
}

echo "== the CPU image"
docker build -f k8s/images/Dockerfile.cpu -t medsweep:demo-cpu .

echo "== a cluster of three nodes ($engine)"
trap finish EXIT
if [[ $engine == kind ]]; then
    mount="extraMounts: [{hostPath: $shared, containerPath: /medsweep}]"
    kind create cluster --name "$cluster" --config - <<NODES
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{role: control-plane, $mount}, {role: worker, $mount}, {role: worker, $mount}]
NODES
    kind load docker-image --name "$cluster" medsweep:demo-cpu
else
    k3d cluster create "$cluster" --agents 2 --wait --volume "$shared:/medsweep@all"
    k3d image import --cluster "$cluster" medsweep:demo-cpu
fi
kubectl label node --all medsweep.io/gpu=none --overwrite

echo "== KubeRay's operator $operator"
helm upgrade --install kuberay-operator kuberay-operator --repo "$KUBERAY_CHARTS" --version "$operator" \
    --namespace ray-system --create-namespace --wait --timeout 5m

echo "== the sweep"
kubectl apply --server-side -k k8s/demo
"$medsweep" run k8s/demo/sweep.yaml --on k8s --cluster k8s/demo/cluster.yaml --max-at-once 1 --out "$out"
