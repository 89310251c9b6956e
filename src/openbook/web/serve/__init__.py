"""What every shape of the API stands on: who may come in, models, one generation, answers and streams. No routes."""
