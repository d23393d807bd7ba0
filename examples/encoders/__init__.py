"""Small encoders for signals: made here, or put together from what packages carry."""
