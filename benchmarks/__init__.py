"""What Spanloom costs, measured beside the floor: `python -m benchmarks` prints a table and writes JSON."""
