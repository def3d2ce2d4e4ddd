"""Look-alikes: the nearest items of each item in embedding space.

`exact.exact_neighbors` compares all pairs in blocks and is the oracle; `approximate.lsh_neighbors` compares
only those that share a bucket of a random-hyperplane hash (`lsh`, `buckets`); `quality` measures the second
against the first, and `plan` chooses between them.
"""
