"""A request becomes a job: where it may reach, whether its spec may run here, what the store is given."""
