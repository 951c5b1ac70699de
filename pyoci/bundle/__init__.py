"""Reading a bundle: config.json from bytes to a checked document, each complaint with its JSON pointer."""
