"""What was produced: references to values, the store that holds their bytes, and the formats they are written in."""
