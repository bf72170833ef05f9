"""The content store of scorers: a scorer is its content, a name points to it, the last good one serves."""

from autoscorer.scorers.library.library import Check, Library, Loaded

__all__ = ["Check", "Library", "Loaded"]
