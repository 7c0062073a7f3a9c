"""Networks that lie in files: read without the library that wrote them, accounted for op by op."""
