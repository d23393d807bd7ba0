"""What one domain is like: frame, class means, prototypes, and folds to measure on."""
