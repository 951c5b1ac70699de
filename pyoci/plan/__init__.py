"""Compiling config.json into the ordered steps that the executor runs; pure, without any I/O."""
