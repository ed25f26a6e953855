"""The hot pure functions: cross-entropy, dropout, sampling filters."""
