"""The service over HTTP: the API, and the process that serves it."""
