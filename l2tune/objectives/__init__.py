"""Optuna objectives."""
