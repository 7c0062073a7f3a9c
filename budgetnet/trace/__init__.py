"""What any `nn.Module` costs and sees, from a run on shapes alone."""
