"""Images as uint8 arrays: where they come from, and how they reach the device."""
