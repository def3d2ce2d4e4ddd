"""Stage `recommend`: candidates from every source, a blend learned on a validation window, re-ranking, reasons."""
