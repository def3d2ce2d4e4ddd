"""Upkeep of all tables: small files together, rows that are looked up beside each other, old files away."""
