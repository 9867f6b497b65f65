"""What one controller does for the whole installation: cleaning, sweeping, prewarming, keeping time."""
