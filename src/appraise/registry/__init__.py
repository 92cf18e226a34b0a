"""Model bundles and the MLflow registry."""
