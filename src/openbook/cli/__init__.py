"""The commands, a file each. They parse options, call the library and print; the work is done elsewhere."""
