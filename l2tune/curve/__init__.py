"""The regularization curve."""
