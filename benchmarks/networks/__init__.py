"""The networks of the comparison: exact architectures with seeded random weights."""
