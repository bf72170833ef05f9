"""The transport *stream*, whatever runs the container: a tar in, a tar out, by commands in our sidecar."""
