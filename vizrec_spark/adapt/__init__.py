"""Stage `adapt`: teach an encoder the labels of a catalogue, judge it, and register it."""
