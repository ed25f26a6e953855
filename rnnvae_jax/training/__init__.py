"""State, fused step, checkpoints, writers and progress of a run."""
