"""The Docker engine's own package: the only code that imports its SDK."""
