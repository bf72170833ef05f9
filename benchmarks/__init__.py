"""Benchmarks: whole processes, interleaved, against what a user would run instead."""
