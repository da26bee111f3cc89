"""The windows; everything they show comes from gui.model."""
