"""Files of each format → plain text. `document.read_document` picks the reader by the file's suffix."""
