"""Label-budget curves: what few labels are worth with unlabelled text, from grids of runs and the statistics over their seeds."""
