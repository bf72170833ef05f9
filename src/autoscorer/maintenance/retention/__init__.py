"""What is no longer needed goes: ended jobs, submissions nobody names, outputs that were replaced."""
