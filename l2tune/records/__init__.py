"""What a study stores."""
