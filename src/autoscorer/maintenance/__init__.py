"""What one process does for all: recovering, delivering, cleaning up, each under a lease."""
