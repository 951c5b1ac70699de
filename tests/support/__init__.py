"""What several test modules share: the runtime under test, bundles, and the search for what is left."""
