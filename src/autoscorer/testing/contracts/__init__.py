"""The contracts: what every scorer promises. One module each; its first line is the promise."""
