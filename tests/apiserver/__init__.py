"""An API server in this process: enough of Kubernetes to exercise the client against.

It keeps objects with resource versions, applies with field owners, lists by label and in pages,
watches from a version, forgets versions, checks custom resources against the real CRDs, evaluates
Roles, and fails when it is told to. There is no operator and no kubelet: the tests play both.
"""
