"""What can be configured: the table of keys, how each kind of value is read, what is secret. Lowest layer."""
