"""How a worker comes to its jobs: the store says what there is to do, a queue that it is time to look."""
