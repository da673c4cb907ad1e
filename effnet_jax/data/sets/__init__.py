"""Each data set: its facts, where it is found, how it is prepared, and which examples are held out."""
