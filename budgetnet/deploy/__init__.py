"""Preparing a model for a device: norms folded into convolutions, files for other runtimes."""
