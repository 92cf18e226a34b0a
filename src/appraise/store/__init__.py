"""PostgreSQL: stored features, the prediction log, outcomes, batch runs, API keys and the audit trail."""
