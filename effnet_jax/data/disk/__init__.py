"""What lies on disk: archives, the records of TFDS, and the cache of decoded images."""
