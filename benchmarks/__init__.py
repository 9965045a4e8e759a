"""Measurements beside stock ``transparent-background``, both sides in one run; ``make bench`` runs them all."""
