"""The verbs of the command, a file each: they parse, call the library and print. No logic lives here."""
