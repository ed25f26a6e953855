"""What neural models are measured against."""
