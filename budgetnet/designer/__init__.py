"""Networks within a budget: a space as a graph, the exact search over it, the answers. No torch."""
