"""Candidate estimators, their comparison, tuning and conformal intervals."""
