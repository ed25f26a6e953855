"""Configs: the schema engine, the argument after the colon, the reference."""
