"""The predictor and its transports."""
