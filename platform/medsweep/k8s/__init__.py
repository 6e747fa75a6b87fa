"""Kubernetes: manifests for KubeRay out of a plan, and the client that submits them."""
