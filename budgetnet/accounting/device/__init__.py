"""What a runtime makes of a network: operators, buffers, plans of memory. No torch, no files."""
