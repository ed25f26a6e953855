"""What trained models have learnt and what they write, as figures."""
