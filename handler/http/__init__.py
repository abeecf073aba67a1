"""The HTTP door: pictures in the size that a URL asks for."""
