"""The shapes of the API, a file or folder each: routes in the words of well-known APIs."""
