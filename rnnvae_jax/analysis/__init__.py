"""Measurements of trained models and of the text that they generate."""
