"""What the service knows: jobs, their attempts, events and results, callbacks, scorers, tokens."""
