"""The worker over Celery: Celery carries the ids of jobs, AutoScorer does the work."""
