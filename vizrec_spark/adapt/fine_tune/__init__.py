"""Depth `fine_tune`: the last blocks of an encoder learn from labelled pictures."""
