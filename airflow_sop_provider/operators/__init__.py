"""The operator of SOP steps, for deployments with and without our executor."""
