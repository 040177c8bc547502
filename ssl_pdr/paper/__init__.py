"""The paper's tables: what it printed, the grid of runs behind them, and how they are made again."""
