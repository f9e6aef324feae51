"""The bundled model: its weights put into the package, what was measured of it, its card."""
