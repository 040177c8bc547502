"""Budgets, sources and mixing: from text anywhere to batches of exact composition."""
