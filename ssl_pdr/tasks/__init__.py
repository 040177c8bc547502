"""What differs between tasks: columns, features, logits and metrics."""
