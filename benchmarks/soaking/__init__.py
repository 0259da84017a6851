"""The parts of `benchmarks/soak.py`: faults of all kinds, and what the commands make of them."""
