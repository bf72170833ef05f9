"""`autoscorer tokens`: list, make and revoke the tokens of the service."""
