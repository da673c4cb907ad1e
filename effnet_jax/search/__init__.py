"""Searches and studies: many training runs as one Optuna study, on one machine or on many."""
