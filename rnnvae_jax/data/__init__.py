"""Text on its way from files to batches of ids."""
