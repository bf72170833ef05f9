"""Several Docker engines as one backend: which of them gets a job, and which is left alone for a while."""
