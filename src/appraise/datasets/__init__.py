"""Dataset specs, inference, loading, cleaning, splitting and the simulator."""
