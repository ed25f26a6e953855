"""Searches: many trials of one space, what they have shown, and the winner."""
