"""Stage `evaluate`: how good recommendations are, on what users did afterwards; it knows no model."""
