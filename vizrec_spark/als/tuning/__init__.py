"""Job `tune`: the search for the settings of stage `als`."""
