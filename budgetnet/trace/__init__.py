"""Account for any `nn.Module`, from a run on shapes alone."""
