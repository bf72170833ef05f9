"""`autoscorer callbacks`: what callbacks are signed with, what became of them, send one again."""
