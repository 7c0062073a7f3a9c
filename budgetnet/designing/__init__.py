"""What `design` is made of: the space as a graph, the exact search over it, and the answers."""
