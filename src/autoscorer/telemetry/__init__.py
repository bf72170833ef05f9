"""Prometheus instruments: what this process counts and times, and nothing until a service asks for it."""
