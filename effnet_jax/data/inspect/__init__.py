"""Looking at a data set: broken images, duplicates, statistics, sheets of samples and augmentations."""
