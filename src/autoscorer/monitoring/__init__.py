"""What the service tells Prometheus: what happens to jobs, how things stand, and who may read it."""
