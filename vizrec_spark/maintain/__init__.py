"""Stage `maintain`: compaction, clustering and vacuum of every table."""
