"""Trained runs, opened: what they score, encode, decode, predict and write."""
