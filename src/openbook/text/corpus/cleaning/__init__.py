"""What is cut from or found in the text of a document: Project Gutenberg boilerplate, chapter headings."""
