"""Frozen values that every room shares; they know no file, no clock and no neighbour."""
