"""The commands, a file a subject; each imports what it works with when it runs."""
