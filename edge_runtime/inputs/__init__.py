"""Sources, encoders, preprocessing and sensor health: raw samples in, features out."""
