"""What runs were made of: records, two of them compared, the same run once more."""
