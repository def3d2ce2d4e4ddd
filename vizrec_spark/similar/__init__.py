"""Look-alikes: the nearest items of each item in embedding space.

`memory` and `partitioned` run the two physical plans that `plan` chooses between. Both search with `search.Searcher`:
candidates by reduced points (`reduction`) from the cells of a generator (`generators`), scored in float32 at full
dimension. `tuning` picks the generator and its setting, `quality` measures recall against the exact join.
`exact.exact_neighbors` compares all pairs in shuffled blocks and is the oracle; `incremental` updates lists;
`categories` searches within each category; `ask.nearest_items` searches by vectors.
"""
