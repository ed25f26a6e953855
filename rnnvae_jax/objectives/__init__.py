"""Pure losses, KL controls and estimators, in nats."""
