"""Puts the stages together: the console command, one job a stage, and the whole pipeline."""
