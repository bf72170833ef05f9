"""Scorers in a process apart: a zygote that never computes, a keeper and a confined worker for each score."""
