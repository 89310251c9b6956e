"""What is worth seeing in a traced run, as data: for the terminal, for programs, for the page."""
