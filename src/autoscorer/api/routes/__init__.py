"""One file per noun, each with a ``router``; every file here is found by itself."""
