"""Rooms: one public function each, values in, a value and a note out."""
