"""Kubernetes' own package: the only code that imports its SDK."""
