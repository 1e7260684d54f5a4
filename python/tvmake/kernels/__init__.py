"""Kernels written loop by loop, and the arithmetic that they and all others use."""
