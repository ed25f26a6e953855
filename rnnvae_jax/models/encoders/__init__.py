"""Encoders: a text's word vectors become one vector, a module for each kind."""
