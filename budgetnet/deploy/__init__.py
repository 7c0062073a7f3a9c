"""What leaves for a device: norms folded into convolutions, and files for other runtimes."""
