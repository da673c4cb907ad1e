"""Images as uint8 arrays: where they come from, and how they reach the device.

`datasets.load` opens a data set by its name. The rooms follow an image on its way: `disk`, `decode`, `sets`, `device`.
`inspect` looks at data sets.
"""
