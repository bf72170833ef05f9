"""Scorers in a process apart: a zygote that never computes, and of it a confined process for each score."""
