"""The penalty: its strength, its weights, its forms."""
