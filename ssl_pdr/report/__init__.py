"""What finished runs say: figures, and what they are drawn from. Plotting stays in this room."""
