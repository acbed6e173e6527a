"""A real Kubernetes on one machine, for development and tests: built from Go modules, run as ordinary processes.

API server, scheduler, controller manager and kubelet are the released ones, containerd and runc Debian's,
so what holds here holds on a cluster. Nothing is downloaded but Go modules and Debian packages.
"""
