"""Look at the world from above: prepare and start runs, follow them, find them again."""
