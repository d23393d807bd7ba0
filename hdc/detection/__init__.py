"""Out of distribution, one sample at a time or together: score, p-value, detector."""
