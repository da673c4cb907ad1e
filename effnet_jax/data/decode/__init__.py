"""From the bytes of an image to its pixels, one image at a time."""
