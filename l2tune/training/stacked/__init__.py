"""The population engine: many networks as one, their weights stacked."""
