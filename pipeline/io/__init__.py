"""Doors: one format each, no decisions."""
