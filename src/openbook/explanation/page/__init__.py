"""A traced run as the data of a page: manifest, slices of what was recorded, derivations of single numbers."""
