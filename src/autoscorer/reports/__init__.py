"""Pictures and views made from a result."""
