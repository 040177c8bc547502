"""Measurements: each prints a table and writes JSON; `python -m benchmarks.<name>` runs one."""
